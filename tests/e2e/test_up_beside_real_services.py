"""`hookline up` with a Kafka and a PostgreSQL that run already: several at a time, restarts, settings."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.e2e.api_client import read_event, send_event
from tests.e2e.left import find_left
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.postgres import create_database
from tests.support.processes import HooklineUp

MASTER = "HOOKLINE_GATEWAY_MASTER_API_KEY"
MASTER_KEY = "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60"


@pytest.fixture
def environ(kafka: str, topic_prefix: str, empty_database: str) -> dict[str, str]:
    """Settings that name the tests' services, with topics and a database of this test's own."""
    return {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix,
        "HOOKLINE_DATABASE_WRITE_URL": empty_database,
    }


async def test_a_killed_process_is_replaced_at_the_same_address(environ: dict[str, str]) -> None:
    """Each kind, one of two: the report stays right, the pid file follows, and deliveries go on."""
    async with HooklineUp("--gateway", "2", "--deliver", "2", environ=environ) as up:
        assert {"archive", "deliver", "gateway", "listen", "matcher"} == up.report.pids.keys()
        assert [2, 2, 1] == [len(up.report.pids[name]) for name in ("gateway", "deliver", "archive")]
        assert {"deliver", "deliver.2", "gateway", "gateway.2"} < up.report.metrics.keys()
        for name, number in (("gateway", 1), ("deliver", 2), ("matcher", 1), ("archive", 1), ("listen", 1)):
            killed = up.kill(name, number)
            restarted = await up.wait_restarted(name, number)
            assert f"{name}.{number} (pid {killed}) died of signal 9; started again as pid {restarted} after 0.2 s" in (
                await read_incident(up, killed)
            )
        await eventually(lambda: is_answering(up.report.metrics.values()), timeout_s=60)

        event_id = await eventually(lambda: send_event_again(up), timeout_s=60)

        log = up.data_dir / "logs" / "listen.1.log"
        await eventually(lambda: event_id in log.read_text(), timeout_s=60)
        event = await eventually(lambda: read_event(up.report, event_id), timeout_s=60)
        assert event_id == event["event_id"]


async def send_event_again(up: HooklineUp) -> str:
    """An event, as soon as the gateway is there again."""
    try:
        return await send_event(up.report)
    except aiohttp.ClientError as error:
        raise AssertionError(str(error)) from error


async def is_answering(urls: Iterable[str]) -> bool:
    """Do all of them answer?"""
    async with aiohttp.ClientSession() as session:
        for url in urls:
            try:
                async with session.get(url) as response:
                    assert 200 == response.status
            except aiohttp.ClientError as error:
                raise AssertionError(f"{url}: {error}") from error
    return True


async def read_incident(up: HooklineUp, pid: int) -> str:
    """Read the report about a process that died."""

    def find() -> str:
        lines = [line for line in (up.data_dir / "up.stderr.log").read_text().splitlines() if f"(pid {pid})" in line]
        assert lines
        return lines[0]

    return await eventually(find)


@pytest.fixture
def other_environ(environ: dict[str, str], postgres: str) -> Iterator[dict[str, str]]:
    """Settings for a second installation: the same services, with topics and a database of its own."""
    prefix = environ["HOOKLINE_KAFKA_TOPIC_PREFIX"] + "other."
    with create_database(postgres) as url:
        yield environ | {"HOOKLINE_KAFKA_TOPIC_PREFIX": prefix, "HOOKLINE_DATABASE_WRITE_URL": url, MASTER: MASTER_KEY}


async def test_several_run_side_by_side(environ: dict[str, str], other_environ: dict[str, str]) -> None:
    """Each has ports, data and a demo of its own; a third one in the directory of the first is refused."""
    one, two = HooklineUp(environ=environ), HooklineUp("--no-demo", environ=other_environ)
    async with one:
        async with two:
            assert one.report.api != two.report.api
            assert MASTER_KEY == two.report.master_api_key
            assert ("", "", "", "", "", "") == (
                *(two.report.organization_id, two.report.application_id, two.report.application_secret),
                *(two.report.subscription_id, two.report.subscription_secret, two.report.receiver),
            )
            assert "listen" not in two.report.pids
            refused = await run_hookline("up", "--json", "--data-dir", str(one.data_dir), environ=environ)
            assert (2, "") == (refused.code, refused.out)
            assert f"another hookline up uses {one.data_dir}" in refused.err
        # the end of the one is none of the other's business
        event_id = await send_event(one.report)
        await eventually(lambda: event_id in (one.data_dir / "logs" / "listen.1.log").read_text(), timeout_s=60)


async def test_what_was_deleted_of_the_demo_is_made_anew(environ: dict[str, str], tmp_path: Path) -> None:
    """A subscription that is gone comes back; the rest stays. The receiver moves when its port is taken."""
    async with HooklineUp(data_dir=tmp_path, environ=environ) as up:
        first = up.report
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {first.master_api_key}"}) as session:
            url = f"{first.api}/subscriptions/{first.subscription_id}?application_id={first.application_id}"
            async with session.delete(url) as response:
                assert 204 == response.status
    async with HooklineUp(data_dir=tmp_path, environ=environ) as up:
        second = up.report
        event_id = await send_event(second)
        await eventually(lambda: event_id in (tmp_path / "logs" / "listen.1.log").read_text(), timeout_s=60)

        assert first.application_id == second.application_id
        assert first.application_secret == second.application_secret
        assert first.subscription_id != second.subscription_id
    taken = await asyncio.start_server(
        lambda *_: None, "127.0.0.1", int(second.receiver.rstrip("/").rpartition(":")[2])
    )
    async with taken, HooklineUp(data_dir=tmp_path, environ=environ) as up:
        event_id = await send_event(up.report)
        await eventually(lambda: event_id in (tmp_path / "logs" / "listen.1.log").read_text(), timeout_s=60)

        assert second.receiver != up.report.receiver
        assert second.subscription_id == up.report.subscription_id
        assert second.subscription_secret == up.report.subscription_secret


async def test_a_stop_during_the_start_leaves_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    """A signal during the start ends it cleanly: no report, nothing running."""
    up = HooklineUp(data_dir=tmp_path, environ=environ)
    starting = asyncio.create_task(up.start())
    await eventually(lambda: list((tmp_path / "logs").glob("matcher*.log")), timeout_s=60)
    for process in psutil.process_iter():
        if is_up(process, tmp_path):
            process.terminate()
    with pytest.raises(AssertionError, match="ended with code 130 and without a report"):
        await starting

    assert [] == find_left(tmp_path)


def is_up(process: psutil.Process, data_dir: Path) -> bool:
    """Is the process the `hookline up` of this data directory?"""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return words[2:4] == ["pipeline.cli", "up"] and str(data_dir) in words
