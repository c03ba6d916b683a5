"""Partitions of an organization's own, on a real PostgreSQL: divided ahead, read alone, gone with their day."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from pipeline.clock import wall_us
from pipeline.postgres.archive.attempts import list_attempts
from pipeline.postgres.archive.deliveries import list_deliveries
from pipeline.postgres.archive.division import DIVIDED, name_part
from pipeline.postgres.archive.exports import Export, export_events
from pipeline.postgres.archive.filling import ROWS_PER_EVENT, fill_archive
from pipeline.postgres.archive.isolation import IsolationError, divide_ahead, isolate, join, list_isolated
from pipeline.postgres.archive.lists import EventFilter, list_events
from pipeline.postgres.archive.paging import ListFilter
from pipeline.postgres.archive.partitions import ensure_days
from pipeline.postgres.archive.reads import find_event
from pipeline.postgres.archive.retention import detach_expired, drop_detached, restore_day
from pipeline.postgres.archive.tables import EPOCH, EVENTS
from tests.integration.archive.plans import open_explained
from tests.integration.archive.records import DAY_US, Log, make_dispatch, make_event, make_id
from tests.integration.archive.tables import Owner, connect, count_rows, list_partitions, open_writer, read_rows
from tests.integration.archive.test_plans import APPLICATION, SUBSCRIPTION
from tests.support.processes import ROOT, select_environ

ONE_DAY = timedelta(days=1)
DAYS_KEPT = 34


def tell_today() -> date:
    """The server's, which runs on this machine."""
    return datetime.now(tz=UTC).date()


def make_organization(database: str, *applications: str) -> str:
    """Make an organization; its id."""
    organization_id = str(uuid4())
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into organizations values (%s, 'Acme')", (organization_id,))
        for application_id in applications:
            add_application(database, organization_id, application_id)
    return organization_id


def add_application(database: str, organization_id: str, application_id: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "insert into applications (application_id, organization_id, name) values (%s, %s, 'Shop')",
            (application_id, organization_id),
        )


def noon_us(day: date) -> int:
    return (day - EPOCH).days * DAY_US + DAY_US // 2


def show_parts(database: str, table: str = "events") -> dict[str, int]:
    """Rows by the partition they lie in."""
    rows = read_rows(database, table)
    return {part: sum(row["part"] == part for row in rows) for part in {row["part"] for row in rows}}


async def test_from_the_next_day_on_rows_lie_in_partitions_of_their_own(database: str) -> None:
    """A day that has begun stays as it is; days that were made ahead are divided, and others' rows lie beside."""
    own, other, today = make_id(), make_id(), tell_today()
    tomorrow, organization_id, log = today + ONE_DAY, make_organization(database, own), Log()
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [today, tomorrow])
        planned = await isolate(connection, organization_id, days_kept=DAYS_KEPT)
        for day in (today, tomorrow):
            events = [make_event(each) for each in (own, other)]
            records = [log.append(event, appended_at_us=noon_us(day)) for event in events]
            await Owner(writer).write(
                *records, log.append(make_dispatch(events[0], make_id()), appended_at_us=noon_us(day))
            )
        again = await isolate(connection, organization_id, days_kept=DAYS_KEPT)
        (listed,) = await list_isolated(connection)

    assert (tomorrow, sorted(table.partition_of(tomorrow) for table in DIVIDED)) == (
        planned.first_day,
        sorted(planned.partitions),
    )
    assert (tomorrow, []) == (again.first_day, again.partitions)
    assert {
        EVENTS.partition_of(today): 2,
        name_part(EVENTS, tomorrow, organization_id): 1,
        name_part(EVENTS, tomorrow, None): 1,
    } == show_parts(database)
    assert (organization_id, "Acme", tomorrow, 1, 1) == listed[:5]
    assert listed.size_bytes > 0


async def test_a_dry_run_changes_nothing(database: str) -> None:
    """A dry run lists the partitions that would be made again."""
    organization_id, tomorrow = make_organization(database, make_id()), tell_today() + ONE_DAY
    async with await connect(database) as connection:
        await ensure_days(connection, [tomorrow])
        before = list_partitions(database, EVENTS.partition_of(tomorrow))
        planned = await isolate(connection, organization_id, days_kept=DAYS_KEPT, dry_run=True)

        assert EVENTS.partition_of(tomorrow) in planned.partitions
        assert before == list_partitions(database, EVENTS.partition_of(tomorrow)) == []
        assert [] == await list_isolated(connection)


async def test_rows_that_came_too_early_move_along(database: str) -> None:
    """Where the log's clock is ahead of the server's, tomorrow has rows already; they stay, whatever is divided."""
    own, tomorrow, log = make_id(), tell_today() + ONE_DAY, Log()
    organization_id = make_organization(database, own)
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [tomorrow])
        events = [make_event(each) for each in (own, make_id())]
        await Owner(writer).write(*(log.append(event, appended_at_us=noon_us(tomorrow)) for event in events))
        before = sorted(row["event_id"] for row in read_rows(database, "events"))
        await isolate(connection, organization_id, days_kept=DAYS_KEPT)
        divided = show_parts(database)
        await join(connection, organization_id)

    assert {name_part(EVENTS, tomorrow, organization_id): 1, name_part(EVENTS, tomorrow, None): 1} == divided
    assert {EVENTS.partition_of(tomorrow): 2} == show_parts(database)
    assert before == sorted(row["event_id"] for row in read_rows(database, "events"))


async def test_an_application_that_is_new_has_its_part_in_the_days_ahead(database: str) -> None:
    """Upkeep sees that they do not fit any more; where nothing is new it makes nothing again."""
    organization_id, tomorrow = make_organization(database, make_id()), tell_today() + ONE_DAY
    new, log = make_id(), Log()
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [tomorrow])
        await isolate(connection, organization_id, days_kept=DAYS_KEPT)
        unchanged = await divide_ahead(connection)
        add_application(database, organization_id, new)
        changed = await divide_ahead(connection)
        event = make_event(new)
        await Owner(writer).write(log.append(event, appended_at_us=noon_us(tomorrow)))

    assert ([], len(DIVIDED)) == (unchanged, len(changed))
    assert {name_part(EVENTS, tomorrow, organization_id): 1} == show_parts(database)


async def test_a_divided_day_leaves_whole_and_comes_back(database: str) -> None:
    """Retention takes it out, attaches it again with rows that came meanwhile, and drops all its tables."""
    own, tomorrow, log = make_id(), tell_today() + ONE_DAY, Log()
    organization_id = make_organization(database, own)
    first_kept = tomorrow + ONE_DAY
    async with open_writer(database) as writer, await connect(database) as connection:
        await ensure_days(connection, [tomorrow])
        await isolate(connection, organization_id, days_kept=DAYS_KEPT)
        owner = Owner(writer)
        events = [make_event(each) for each in (own, make_id())]
        await owner.write(*(log.append(event, appended_at_us=noon_us(tomorrow)) for event in events))
        await detach_expired(connection, first_kept=first_kept, days_max=1, keep_hours=1)
        gone = count_rows(database, "events")
        late = make_event(own)
        await ensure_days(connection, [tomorrow])
        await owner.write(log.append(late, appended_at_us=noon_us(tomorrow)))
        restored = await restore_day(connection, tomorrow)
        parts = show_parts(database)
        await connection.execute("update archive_detached set restored_at = '2020-01-01'")
        await connection.execute("update archive_detached set detached_at = '2020-01-01'")
        await detach_expired(connection, first_kept=first_kept, days_max=1, keep_hours=0)
        await connection.execute("update archive_detached set detached_at = '2020-01-01'")
        dropped = await drop_detached(connection, keep_hours=1, days_max=1)
        cursor = await connection.execute(
            "select count(*) from pg_class where relname like %s", (f"events_{tomorrow:%Y%m%d}%",)
        )
        left = await cursor.fetchone()

    assert (0, 2) == (gone, restored["events"])
    assert {name_part(EVENTS, tomorrow, organization_id): 2, name_part(EVENTS, tomorrow, None): 1} == parts
    assert ([tomorrow], (0,)) == (dropped, left)


async def test_what_is_not_there_is_refused(database: str) -> None:
    """An organization that does not exist cannot be isolated, one that is not isolated cannot join."""
    async with await connect(database) as connection:
        with pytest.raises(IsolationError, match="there is no organization"):
            await isolate(connection, str(uuid4()), days_kept=DAYS_KEPT)
        with pytest.raises(IsolationError, match="has no partitions of its own"):
            await join(connection, make_organization(database))


async def test_lists_read_the_partitions_of_their_organization_alone(database: str) -> None:
    """PostgreSQL's plans show that an isolated application's lists touch its own partitions, other lists never."""
    days = [tell_today() - number * ONE_DAY for number in range(3)]
    organization_id = make_organization(database, APPLICATION)
    with psycopg.connect(database, autocommit=True) as direct:
        direct.execute("insert into isolated_organizations values (%s, %s)", (organization_id, min(days)))
    async with open_explained(database, is_bare=True) as (pool, plans):
        async with await connect(database) as connection:
            await ensure_days(connection, days)
            for day in days:
                await fill_archive(pool, 3000 * ROWS_PER_EVENT, now_us=noon_us(day), progress=lambda _: None)
            await connection.execute("vacuum (analyze)")
            cursor = await connection.execute(
                "select application_id::text, min(event_id::text) from events where application_id <> %s "
                "group by 1 limit 1",
                (APPLICATION,),
            )
            other, event_of_other = await cursor.fetchone() or ("", "")
            cursor = await connection.execute(
                "select event_id::text from events where application_id = %s limit 1", (APPLICATION,)
            )
            (event_id,) = await cursor.fetchone() or ("",)

        async def export(application_id: str) -> object:
            wanted = Export(application_id=application_id, first=days[1], last=days[0])
            return [event async for event in export_events(pool, wanted)]

        def ask(application_id: str, event_id: str) -> dict[str, Callable[[], Awaitable[object]]]:
            one = ListFilter(application_id=application_id)
            return {
                "events": lambda: list_events(pool, EventFilter(application_id=application_id)),
                "event": lambda: find_event(pool, application_id, event_id),
                "deliveries": lambda: list_deliveries(pool, one, now_us=wall_us()),
                "attempts": lambda: list_attempts(pool, one, now_us=wall_us()),
                "attempts of a subscription": lambda: list_attempts(
                    pool, ListFilter(application_id=application_id, subscription_id=SUBSCRIPTION), now_us=wall_us()
                ),
                "export": lambda: export(application_id),
            }

        touched: dict[str, dict[str, set[str]]] = {}
        for whose, queries in {"own": ask(APPLICATION, event_id), "other": ask(other, event_of_other)}.items():
            for name, query in queries.items():
                plans.clear()
                await query()
                ends = {part.partition("_2")[2][8:] for table in DIVIDED for part in plans.partitions(table.name)}
                touched.setdefault(whose, {})[name] = ends

    own_end = organization_id.replace("-", "")
    assert {name: {own_end} for name in touched["own"]} == touched["own"]
    assert {name: {"rest"} for name in touched["other"]} == touched["other"]


async def test_the_command_says_what_it_does(database: str) -> None:
    """Dry run, isolate, list, join: each with its exit code."""
    organization_id, tomorrow = make_organization(database, make_id()), tell_today() + ONE_DAY
    async with await connect(database) as connection:
        await ensure_days(connection, [tomorrow])

    async def run(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pipeline.cli",
            "partitions",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=select_environ(os.environ) | {"HOOKLINE_DATABASE_WRITE_URL": database},
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    dry = await run("isolate", organization_id, "--dry-run")
    nothing = await run("list")
    done = await run("isolate", organization_id)
    listed = await run("list", "--json")
    figures = await run("join", organization_id, "--dry-run", "--json")
    joined = await run("join", organization_id)
    refused = await run("join", organization_id)

    assert (0, True, True) == (dry[0], f"to make again  events_{tomorrow:%Y%m%d}" in dry[1], "would count" in dry[1])
    assert (0, "no organization has partitions of its own\n") == nothing
    assert (0, True) == (done[0], f"counts from {tomorrow} on" in done[1])
    assert (0, True) == (listed[0], organization_id in listed[1])
    planned = json.loads(figures[1])
    assert (0, True, str(tomorrow)) == (figures[0], planned["dry_run"], planned["first_day"])
    assert f"events_{tomorrow:%Y%m%d}" in planned["partitions"]
    assert (0, True) == (joined[0], f"made again  events_{tomorrow:%Y%m%d}" in joined[1])
    assert (1, True) == (refused[0], "has no partitions of its own" in refused[1])
