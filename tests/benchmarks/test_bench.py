"""`hookline bench` with a tiny load: what it reports has its form, and its counts are right. Times do not matter."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest
import pytest_asyncio

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import LogEnds
from pipeline.topics import declare_topics_for
from tests.benchmarks.bench_command import interrupt_bench, list_files, read_curves, read_result, run_bench
from tests.e2e.left import find_left
from tests.support.processes import HooklineUp

OURS = {"gateway", "matcher", "deliver", "archive", "kafka", "postgres"}
RATE, WARM_UP_S, DURATION_S = 20, 1, 2
LOAD = ("--rate", str(RATE), "--warm-up", str(WARM_UP_S), "--duration", str(DURATION_S))


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up() -> AsyncIterator[HooklineUp]:
    async with HooklineUp("--no-demo") as running:
        yield running


async def test_it_starts_measures_and_stops_everything_by_itself(tmp_path: Path) -> None:
    """A file with machine, commit, figures and counts; a report; pictures. Nothing is left running."""
    ran = await run_bench("end-to-end", *LOAD, out=tmp_path)
    assert 0 == ran.code, ran.err
    result = read_result(tmp_path, "end-to-end")
    (case,) = result.cases
    (phase,) = case.phases
    counts, figures = case.counts["all"], phase.groups["all"]

    assert [] == case.problems
    assert counts.accepted == counts.delivered == counts.archived_events == counts.archived_succeeded
    assert (WARM_UP_S + DURATION_S) * RATE <= counts.accepted <= (WARM_UP_S + DURATION_S) * RATE + RATE
    assert (0, 0, 0) == (counts.lost, counts.refused, counts.unasked)
    assert figures.delivery is not None
    assert figures.acceptance is not None
    assert DURATION_S * RATE == figures.delivery.count == figures.acceptance.count
    assert OURS | {"generator", "receiver", "up", "bench"} == phase.cpu_s_per_1000.keys()
    assert OURS <= case.growth.pss_mib_after.keys()
    assert phase.server is not None
    assert phase.server.rows_per_s > 0
    curves = read_curves(tmp_path, "end-to-end")[case.name]
    assert curves.at_s == sorted(curves.at_s)
    assert {"matcher", "deliver", "archive"} == curves.lag.keys()
    assert result.command_line.startswith("hookline bench --out ")
    assert result.machine.cores > 0
    assert "| 20/s | measured | all |" in (tmp_path / "report.md").read_text()
    pictures = list_files(tmp_path, "plots/end-to-end/*.svg")
    assert 6 == len(pictures)
    for picture in pictures:
        ElementTree.parse(picture)  # noqa: S314 - our own
    assert [] == find_left(tmp_path)


async def test_it_measures_an_installation_that_runs_and_leaves_it_clean(up: HooklineUp, tmp_path: Path) -> None:
    """Several scenarios, one of them with an endpoint that hangs; the applications it made are deleted again."""
    ran = await run_bench("hanging-endpoint", "ingest-batches", "--data-dir", str(up.data_dir), *LOAD, out=tmp_path)
    assert 0 == ran.code, ran.err
    (hanging,) = read_result(tmp_path, "hanging-endpoint").cases
    batches = read_result(tmp_path, "ingest-batches").cases

    assert ["both healthy", "one hangs"] == [phase.name for phase in hanging.phases]
    assert hanging.counts["healthy"].delivered == hanging.counts["healthy"].accepted
    assert hanging.counts["hanging"].archived_events == hanging.counts["hanging"].accepted
    assert 0 < hanging.counts["hanging"].delivered < hanging.counts["hanging"].accepted
    for case in batches:
        assert [] == case.problems
        assert case.counts["all"].accepted == case.counts["all"].archived_events
        assert 0 == case.counts["all"].accepted % 100
    with psycopg.connect(up.report.database_url) as connection:
        row = connection.execute("select count(*) filter (where deleted_at is null), count(*) from applications")
        left, made = row.fetchone() or (None, None)
    assert 0 == left
    assert made


async def test_what_is_to_be_there_before_the_load_is_there(up: HooklineUp, tmp_path: Path) -> None:
    """Rows in the archive, thousands of subscriptions that match nothing, retries that wait for hours."""
    cases = ("full", "one of 5,000", "78,000")
    ran = await run_bench(
        *("full-archive", "subscriptions", "scheduled-retries", "--archive-rows", "4000"),
        *(word for case in cases for word in ("--case", case)),
        *("--data-dir", str(up.data_dir), *LOAD),
        out=tmp_path,
    )
    assert 0 == ran.code, ran.err
    with psycopg.connect(up.report.database_url) as connection:
        filled = connection.execute(
            "select (select count(*) from events where event_type = 'shop.order.placed'), "
            "(select count(*) from attempts where event_type = 'shop.order.placed'), "
            "(select count(distinct tableoid) from events where event_type = 'shop.order.placed')"
        ).fetchone()
        idle = connection.execute("select count(*) from subscriptions where labels like '%idle%'").fetchone()
    kafka = KafkaConfig(bootstrap_servers=up.report.kafka)
    topics = declare_topics_for(kafka)
    ends = LogEnds(kafka)
    waiting = [await ends.end_offset(topics.retries[-1], partition) for partition in range(kafka.partitions)]
    await ends.close()

    assert (1000, 1000, 1) == filled, "all on one day"
    assert (4999,) == idle
    # beside them each deliver process has proven with a record that it can write there
    assert 78_000 + len(up.report.pids["deliver"]) == sum(waiting)


async def test_what_does_not_arrive_is_told(up: HooklineUp, tmp_path: Path) -> None:
    """Events accepted while deliver is frozen are never delivered: exit code 1, and the report says how many."""
    up.send("deliver", signal.SIGSTOP)
    try:
        ran = await run_bench("end-to-end", "--give-up-after", "3", "--data-dir", str(up.data_dir), *LOAD, out=tmp_path)
    finally:
        up.send("deliver", signal.SIGCONT)
    (case,) = read_result(tmp_path, "end-to-end").cases
    lost = case.counts["all"].lost

    assert 1 == ran.code
    assert case.counts["all"].accepted == lost > 0
    assert f"{lost} deliveries of accepted events were LOST" in ran.err
    assert f"{lost} deliveries of accepted events were LOST" in (tmp_path / "report.md").read_text()


async def test_an_installation_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """No figures of nothing."""
    place = ("--api", "http://127.0.0.1:9/api/v1", "--master-key", "7b1d5a52-6d4f-4f5a-9a63-3f0c0b9f7a11")
    ran = await run_bench("saturation", *place, out=tmp_path)

    assert 1 == ran.code
    assert "did not answer POST /organizations" in ran.err
    assert "Traceback" not in ran.err
    assert [] == list_files(tmp_path, "*.json")


async def test_interrupted_it_stops_what_it_started(tmp_path: Path) -> None:
    """SIGTERM in the middle: exit code 130, and nothing of it runs any more."""
    ran = await interrupt_bench("soak", out=tmp_path)

    assert 130 == ran.code, ran.err
    assert [] == find_left(tmp_path)
