"""Days leave the archive: in order, a few at a time, when the clocks agree, and not at once for good."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from click.testing import CliRunner
from prometheus_client import generate_latest
from psycopg.sql import SQL, Identifier

from connectors.postgres.command import archive
from pipeline.config import ArchiveConfig
from pipeline.metrics import Metrics
from pipeline.postgres.archive.partitions import ensure_days
from pipeline.postgres.archive.retention import Leaving, detach_expired, drop_detached, list_detached, restore_day
from pipeline.postgres.archive.tables import EVENTS, TABLES, day_of
from pipeline.postgres.archive.upkeep import Upkeep
from tests.integration.archive.records import (
    DAY_US,
    NOW_US,
    TOPICS,
    Log,
    make_attempt,
    make_dead_letter,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.tables import (
    Owner,
    configure,
    connect,
    count_rows,
    is_waiting,
    list_partitions,
    open_writer,
    read_rows,
)
from tests.support.eventually import eventually

TODAY = day_of(NOW_US)
ONE_DAY = timedelta(days=1)
HOUR_US = 3_600_000_000


async def fill(database: str, days_ago: range, *, with_partitions: bool = True) -> None:
    """An event, a dispatch, an attempt and a dead letter on each of these days; newest last."""
    log = Log()
    async with open_writer(database) as writer:
        owner = Owner(writer)
        for number in sorted(days_ago, reverse=True):
            at_us = NOW_US - number * DAY_US
            if with_partitions:
                await writer.ensure_days({day_of(at_us)})
            event = make_event(make_id(), payload=b"x" * 5000)
            dispatch = make_dispatch(event, make_id(), appended_at_us=at_us)
            letter = make_dead_letter(event)
            records = [
                log.append(event, appended_at_us=at_us),
                *(log.append(each) for each in (dispatch, make_attempt(dispatch), letter)),
            ]
            await owner.write(*records)


async def detach(
    database: str, *, days: int, days_max: int = 100, keep_hours: float = 72, dry_run: bool = False
) -> Leaving:
    async with await connect(database) as connection:
        return await detach_expired(
            connection,
            first_kept=TODAY - days * ONE_DAY,
            days_max=days_max,
            keep_hours=keep_hours,
            dry_run=dry_run,
        )


async def test_the_oldest_leave_and_only_a_few_at_a_time(database: str) -> None:
    """The bound holds for an hour and all processes together: starting again does not start it anew."""
    await fill(database, range(6))

    assert ([TODAY - 5 * ONE_DAY, TODAY - 4 * ONE_DAY], 1) == await detach(database, days=2, days_max=2, dry_run=True)
    assert 6 == count_rows(database, "events")
    assert ([TODAY - 5 * ONE_DAY, TODAY - 4 * ONE_DAY], 1) == await detach(database, days=2, days_max=2)
    assert ([], 1) == await detach(database, days=2, days_max=2)
    assert 4 == count_rows(database, "events")
    assert ([TODAY - 3 * ONE_DAY], 0) == await detach(database, days=2, days_max=3)
    assert [EVENTS.partition_of(TODAY - number * ONE_DAY) for number in (2, 1, 0)] == list_partitions(
        database, "events"
    )[:3]


async def test_rows_of_the_default_partition_leave_the_same_way(database: str) -> None:
    """A row whose day had no partition is not deleted out of hand: it gets one, and leaves with that."""
    await fill(database, range(40, 41), with_partitions=False)
    await detach(database, days=2)

    assert 0 == count_rows(database, "events")
    async with await connect(database) as connection:
        (day,) = await list_detached(connection)
        assert (TODAY - 40 * ONE_DAY, ["attempts", "deliveries", "dispatches", "events"]) == (day.day, day.tables)
        await restore_day(connection, day.day)
    assert 1 == count_rows(database, "events")


async def test_a_day_that_left_before_an_update(database: str) -> None:
    """A migration adds columns while a day is out of the archive: rows that come for it go with it, and it returns."""
    await fill(database, range(3, 4))
    await detach(database, days=2)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("alter table events add column a_new_one text, add column another int not null default 7")
    add_another_event(database)
    await detach(database, days=2)
    left = count_rows(database, "events")
    add_another_event(database)
    async with await connect(database) as connection:
        await restore_day(connection, TODAY - 3 * ONE_DAY)

    assert 0 == left
    assert [(None, 7)] * 3 == [(row["a_new_one"], row["another"]) for row in read_rows(database, "events")]


def add_another_event(database: str) -> None:
    """An event of the day that left comes after it did."""
    others = [column for column in EVENTS.columns if column != "event_id"]
    copy = SQL("insert into events (event_id, {0}) select gen_random_uuid(), {0} from {1} limit 1")
    detached = Identifier(f"{EVENTS.partition_of(TODAY - 3 * ONE_DAY)}_detached")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(copy.format(SQL(", ").join(map(Identifier, others)), detached))


async def test_a_read_beside_leaving_rows_of_the_default_partition(database: str) -> None:
    """A read that has the table's lock goes on to the default partition: it was failed as a deadlock."""
    await fill(database, range(40, 41), with_partitions=False)
    async with await connect(database) as connection, await psycopg.AsyncConnection.connect(database) as reader:
        await reader.execute("lock table only events in access share mode")
        await connection.execute("set deadlock_timeout = '10s'")
        leaving = asyncio.create_task(
            detach_expired(connection, first_kept=TODAY - 2 * ONE_DAY, days_max=100, keep_hours=72)
        )
        await eventually(lambda: is_waiting(database))
        cursor = await reader.execute("select count(*) from events")
        assert (1,) == await cursor.fetchone()
        await reader.commit()
        assert [TODAY - 40 * ONE_DAY] == (await leaving).days

    assert 0 == count_rows(database, "events")


async def test_a_day_comes_back_as_it_was(database: str) -> None:
    """Everything of it, byte for byte, beside rows that came for it while it was away; and it stays for its grace."""
    await fill(database, range(3))
    before = {table.name: sorted(map(str, read_rows(database, table.name))) for table in TABLES}
    day = TODAY - 2 * ONE_DAY
    await detach(database, days=1)
    assert 2 == count_rows(database, "events")
    async with await connect(database) as connection:
        assert {"events": 1, "dispatches": 1, "deliveries": 1, "attempts": 1} == {
            name: rows for name, rows in (await restore_day(connection, day, dry_run=True)).items() if rows
        }
        assert 2 == count_rows(database, "events")
        await restore_day(connection, day)
        assert before == {table.name: sorted(map(str, read_rows(database, table.name))) for table in TABLES}
        assert ([], 0) == await detach(database, days=1)
        assert {} == await restore_day(connection, day)
        assert [] == await drop_detached(connection, keep_hours=0, days_max=9)
    assert before == {table.name: sorted(map(str, read_rows(database, table.name))) for table in TABLES}


@pytest.mark.parametrize("with_partition", [True, False])
async def test_rows_that_came_meanwhile_are_kept(database: str, with_partition: bool) -> None:
    """A late row of a day that had left: in the default partition, or in one made again."""
    await fill(database, range(3))
    day = TODAY - 2 * ONE_DAY
    await detach(database, days=1)
    event = make_event(make_id())
    async with open_writer(database) as writer, await connect(database) as connection:
        if with_partition:
            await ensure_days(connection, [day])
        owner = Owner(writer)
        claimed = await owner.claim((TOPICS.events.name, 0))
        log = Log()
        for _ in range(claimed[TOPICS.events.name, 0] or 0):
            log.append(event)
        await owner.write(log.append(event, appended_at_us=NOW_US - 2 * DAY_US))
        await restore_day(connection, day)
        assert 4 == count_rows(database, "events")
        # and what leaves a second time goes to where the rest is
        await ensure_days(connection, [day])
        assert ([day], 0) == await detach(database, days=1, keep_hours=0)
    assert 2 == count_rows(database, "events")


async def test_a_day_is_dropped_when_its_grace_is_over(database: str) -> None:
    """Days are dropped only then, the oldest first, a few at a time; then nothing is left of them."""
    await fill(database, range(6))
    await detach(database, days=1)
    async with await connect(database) as connection:
        assert [] == await drop_detached(connection, keep_hours=1, days_max=2)
        assert [TODAY - 5 * ONE_DAY, TODAY - 4 * ONE_DAY] == await drop_detached(connection, keep_hours=0, days_max=2)
        assert [TODAY - 3 * ONE_DAY, TODAY - 2 * ONE_DAY] == [each.day for each in await list_detached(connection)]
        await drop_detached(connection, keep_hours=0, days_max=9)
        cursor = await connection.execute(
            "select count(*) from pg_class where relname like '%detached%' and relkind = 'r'"
        )
        assert (1,) == await cursor.fetchone()  # the list of them


async def test_several_processes_let_go_at_once(database: str) -> None:
    """Every archive process cares for retention: no day more leaves for that."""
    await fill(database, range(6))
    await asyncio.gather(*(detach(database, days=1, days_max=2) for _ in range(4)))

    assert 4 == count_rows(database, "events")


def read_clock_us() -> int:
    """The real one: `NOW_US` was read when the run began, and a run may take longer than clocks may differ."""
    return time.time_ns() // 1000


async def keep_once(database: str, metrics: Metrics, now_us: Callable[[], int], **config: float) -> str | None:
    """One round of the care by a process whose clock is `now_us`; what health says then."""
    upkeep = Upkeep(configure(database), ArchiveConfig.model_validate(config), metrics, now_us=now_us)
    caring = asyncio.create_task(upkeep.run())
    try:
        await eventually(lambda: metrics.archive_partitions.labels(TABLES[-1].name)._value.get() > 0)  # noqa: SLF001 - no other way to read one
    finally:
        caring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caring
    return upkeep.check()


@pytest.mark.parametrize("hours", [-40 * 24, -6 * 24, -1, 1, 6 * 24, 40 * 24])
async def test_a_wrong_clock_takes_nothing_away(database: str, hours: int) -> None:
    """A clock 40 days ahead once dropped all partitions and the default one's rows within seconds of a start."""
    await fill(database, range(6))
    metrics = Metrics("archive")
    problem = await keep_once(database, metrics, lambda: read_clock_us() + hours * HOUR_US, retention_days=5)

    assert [6, 6, 6] == [count_rows(database, name) for name in ("events", "dispatches", "attempts")]
    assert problem is not None
    assert ("ahead of" if hours > 0 else "behind") in problem
    figures = generate_latest(metrics.registry).decode()
    assert "hookline_archive_clocks_disagree 1.0" in figures
    # rows of today have a place all the same
    assert EVENTS.partition_of(TODAY) in list_partitions(database, "events")


@pytest.mark.parametrize("days", [-40, 40])
async def test_a_wrong_clock_of_the_server_takes_nothing_away(database: str, days: int) -> None:
    """Host and PostgreSQL are one machine, and its clock is wrong: the log's append time says so, or is what counts."""
    await fill(database, range(6))
    with psycopg.connect(database, autocommit=True) as connection:
        # PostgreSQL's clock cannot be set for one database: the log's is moved instead, which is the same difference
        connection.execute(
            "update archive_offsets set appended_at_us = appended_at_us - %s where appended_at_us is not null",
            (days * DAY_US,),
        )
    problem = await keep_once(database, Metrics("archive"), read_clock_us, retention_days=30)

    assert 6 == count_rows(database, "events")
    assert (problem is not None) == (days < 0)


async def test_what_all_clocks_agree_on_is_bounded(database: str) -> None:
    """A retention that was lowered by mistake, or three wrong clocks: two days are gone, and health is red."""
    await fill(database, range(8))
    metrics = Metrics("archive")
    problem = await keep_once(database, metrics, read_clock_us, retention_days=1)

    assert 6 == count_rows(database, "events")
    assert problem is not None
    assert "4 more days" in problem
    figures = generate_latest(metrics.registry).decode()
    assert "hookline_archive_days_due 4.0" in figures
    assert "hookline_archive_days_detached_total 2.0" in figures


async def test_what_stands_beside_the_archive_leaves_with_it(database: str) -> None:
    """Attempts that were asked for, and versions of subscriptions that no event of the archive can have met."""
    await fill(database, range(6))
    with psycopg.connect(database, autocommit=True) as connection:
        for days in (0, 4, 12, 40):
            connection.execute(
                "insert into replays select %s, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), "
                "gen_random_uuid(), 'a.b.c', 0, 1, gen_random_uuid(), %s",
                (TODAY - days * ONE_DAY, days),
            )
            connection.execute(
                "insert into subscription_versions (subscription_id, application_id, from_version, to_version, "
                "is_enabled, event_types, labels, target_method, target_url, changed_at, ended_at) "
                "select gen_random_uuid(), gen_random_uuid(), %s, %s, true, '{}', '{}', 'POST', '', %s, %s",
                (days, days + 1 if days else None, TODAY - 50 * ONE_DAY, TODAY - days * ONE_DAY if days else None),
            )
    await keep_once(database, Metrics("archive"), read_clock_us, retention_days=5)
    with psycopg.connect(database) as connection:
        asked = connection.execute("select asked_at_us from replays order by 1").fetchall()
        versions = connection.execute("select from_version from subscription_versions order by 1").fetchall()

    assert [(0,), (4,)] == asked
    assert [(0,), (4,)] == versions


async def test_the_command_attaches_a_day_again(database: str) -> None:
    """`hookline archive restore DAY`, first with --dry-run; one that is not there is refused with what to do."""
    await fill(database, range(3))
    await detach(database, days=1)
    day = str(TODAY - 2 * ONE_DAY)
    environ: dict[str, str | None] = dict.fromkeys((name for name in os.environ if name.startswith("HOOKLINE_")), None)
    environ["HOOKLINE_DATABASE_WRITE_URL"] = database

    async def call(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, archive, arguments, env=environ)
        return result.exit_code, result.output

    code, output = await call("detached")
    assert (0, True) == (code, output.startswith(day))
    code, output = await call("restore", day, "--dry-run")
    assert (0, True) == (code, "to attach  events  1 rows" in output)
    assert 2 == count_rows(database, "events")
    code, output = await call("restore", day)
    assert (0, True) == (code, "attached  events  1 rows" in output)
    assert 3 == count_rows(database, "events")
    code, output = await call("restore", day)
    assert (1, True) == (code, "hookline archive detached" in output)
