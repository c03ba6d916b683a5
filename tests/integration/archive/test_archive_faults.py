"""Exactly once: the archive process while it is killed, frozen, joined, and while PostgreSQL is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil
import psycopg
import pytest

from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.postgres import migrations
from tests.integration.archive.archive_site import ArchiveSite, Load, ids_of
from tests.integration.archive.tables import count_rows, read_positions, read_rows
from tests.support.eventually import eventually
from tests.support.proxy import TcpProxy
from tests.support.single_process import SingleProcess

EVENTS = 3000  # 15,300 rows


async def check(site: ArchiveSite, load: Load) -> None:
    """Rows == records: none is missing, none is there twice, and the offsets say so."""
    await site.wait_until_archived(load)
    await eventually(lambda: read_positions(site.database) == site.ends())

    assert sorted(event.event_id for event in load.events) == ids_of(read_rows(site.database, "events"), "event_id")
    assert sorted(attempt.attempt_id for attempt in load.attempts) == ids_of(
        read_rows(site.database, "attempts"), "attempt_id"
    )
    assert sorted(letter.dead_id for letter in load.letters) == ids_of(
        read_rows(site.database, "dead_letters"), "dead_id"
    )


def is_gone(pid: int) -> bool:
    """Does no process have this pid?"""
    return not psutil.pid_exists(pid)


async def test_kill_in_mid_load(kafka: str, topic_prefix: str, database: str) -> None:
    """kill -9, three times, wherever it is: between reading, writing and committing nothing is lost or doubled."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    archive = site.archive(ARCHIVE_BATCH_MAX_RECORDS="200")
    async with archive:
        loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
        for share in (10, 5, 2):
            await site.wait_for_events(EVENTS // share)
            await archive.kill()
            await archive.start()
        await check(site, await loading)


@pytest.mark.parametrize("shift", ["to the start", "to the end", "gone"])
async def test_kafkas_offsets_do_not_matter(kafka: str, topic_prefix: str, database: str, shift: str) -> None:
    """PostgreSQL knows where to read on, whatever happened to the group's offsets."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    archive = site.archive()
    async with archive:
        load = site.load(500)
        await site.wait_until_archived(load)
        assert 0 == await archive.stop()
        load.add(site.load(300))
        ends = site.ends() | {place: 0 for place in site.committed() if place not in site.ends()}
        match shift:
            case "to the start":
                site.commit(dict.fromkeys(ends, 0))
            case "to the end":
                site.commit(ends)
            case "gone":
                site.forget()
        await archive.start()
        await check(site, load)


async def test_two_share_the_work(kafka: str, topic_prefix: str, database: str) -> None:
    """One joins in the middle, one is killed, another takes over: still every row once."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    first, second = (site.archive(ARCHIVE_BATCH_MAX_RECORDS="200") for _ in range(2))
    async with second:
        async with first:
            loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
            await site.wait_for_events(EVENTS // 2)
            await first.kill()
        await check(site, await loading)


async def test_a_frozen_process_writes_nothing_any_more(kafka: str, topic_prefix: str, database: str) -> None:
    """A process thaws when another one has its partitions and is further on: the batch it held is not written again."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    frozen, other = site.archive(ARCHIVE_BATCH_MAX_RECORDS="100"), site.archive()
    async with frozen:
        loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
        await site.wait_for_events(100)
        frozen.freeze()
        load = await loading
        async with other:
            await check(site, load)
            rows = read_rows(database, "attempts")
            frozen.thaw()
            # it either finds itself fenced off and ends, or learns in time that it has lost its partitions
            load.add(site.load(100))
            await check(site, load)
            assert {row["attempt_id"] for row in rows} <= {row["attempt_id"] for row in read_rows(database, "attempts")}
        # that it was fenced off it may find out just now
        code = await (frozen.stop() if frozen.is_running else frozen.wait())
        assert 0 == code or (1 == code and "FencedError" in frozen.log())


async def find_problems(archive: SingleProcess) -> dict[str, str]:
    """Return the problems that /health names."""
    address = (await archive.wait_ready())["metrics"].replace("/metrics", "/health")
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        problems: dict[str, str] = (await response.json())["problems"]
    return problems


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[TcpProxy]:
    """A proxy in front of PostgreSQL."""
    parts = urlsplit(database)
    async with TcpProxy(parts.hostname or "", parts.port or 5432) as running:
        yield running


def through(proxy: TcpProxy, database: str) -> str:
    parts = urlsplit(database)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{proxy.address}").geturl()


async def test_an_outage_is_sat_out(kafka: str, topic_prefix: str, database: str, proxy: TcpProxy) -> None:
    """Connections are cut in mid-load, again and again, and none comes through for a while: afterwards all is there."""
    site = await ArchiveSite(kafka, topic_prefix, through(proxy, database)).prepare()
    archive = site.archive(ARCHIVE_BATCH_MAX_RECORDS="200", WORKER_STUCK_AFTER_S="0.2")
    site.database = database  # we look past the proxy
    async with archive:
        loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
        for share in (10, 5, 3):
            await site.wait_for_events(EVENTS // share)
            proxy.cut()
            proxy.restore()
        proxy.cut()
        load = await loading
        load.add(site.load(10))

        async def is_told() -> bool:
            return "postgres" in await find_problems(archive)

        await eventually(is_told)
        # not to be restarted for that, however long it takes
        assert "progress" not in await find_problems(archive)
        assert count_rows(database, "events") < len(load.events)
        proxy.restore()
        await check(site, load)

        async def is_well() -> bool:
            return await find_problems(archive) == {}

        await eventually(is_well)
    assert 1 <= archive.log().count("postgres_recovered") <= archive.log().count("postgres_outage")


async def test_a_network_that_swallows_everything(
    kafka: str, topic_prefix: str, database: str, proxy: TcpProxy
) -> None:
    """No answer, no reset, not even at the commit: when bytes flow again, what was in doubt is there once."""
    site = await ArchiveSite(kafka, topic_prefix, through(proxy, database)).prepare()
    archive = site.archive(ARCHIVE_BATCH_MAX_RECORDS="200", DATABASE_CONNECT_TIMEOUT_S="2")
    site.database = database
    async with archive:
        loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
        await site.wait_for_events(100)
        proxy.blackhole()
        load = await loading
        proxy.restore()
        await check(site, load)


async def test_a_stop_in_an_outage_ends(kafka: str, topic_prefix: str, database: str, proxy: TcpProxy) -> None:
    """SIGTERM while PostgreSQL is away: the process ends within its grace, and what it held is read again."""
    site = await ArchiveSite(kafka, topic_prefix, through(proxy, database)).prepare()
    archive = site.archive(WORKER_SHUTDOWN_GRACE_S="2", WORKER_REBALANCE_GRACE_S="1")
    site.database = database
    async with archive:
        load = site.load(100)
        await site.wait_until_archived(load)
        proxy.cut()
        load.add(site.load(100))
        await eventually(lambda: "postgres_outage" in archive.log())
        assert 0 == await archive.stop(timeout_s=20)
        proxy.restore()
        await archive.start()
        await check(site, load)


async def test_a_stop_while_taking_over_in_an_outage_ends(
    kafka: str, topic_prefix: str, database: str, proxy: TcpProxy
) -> None:
    """SIGTERM while it waits for PostgreSQL to make it the owner of partitions: it does not wait for ever."""
    site = await ArchiveSite(kafka, topic_prefix, through(proxy, database)).prepare()
    archive, other = site.archive(), site.archive()
    site.database = database
    async with archive:
        await other.start()
        proxy.cut()
        await other.kill()
        await eventually(lambda: "postgres_outage" in archive.log(), timeout_s=60)

        assert 0 == await archive.stop(timeout_s=20)
        proxy.restore()
        await archive.start()
        await check(site, site.load(100))


# Rows are slow to write, or sorting them needs files: a batch of all of them exceeds what is given, a few do not.
SLOW_ROWS = (
    "create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(0.002); return new; end $$",
    "create trigger slow before insert on attempts for each row execute function wait()",
)
AMOUNTS = {
    "statement_timeout": SLOW_ROWS,
    "temp_file_limit": (
        "alter database {name} set work_mem = '64kB'",
        "alter database {name} set temp_file_limit = '100kB'",
    ),
}


@pytest.mark.parametrize("name", AMOUNTS)
async def test_a_server_that_takes_less_at_once(kafka: str, topic_prefix: str, database: str, name: str) -> None:
    """A whole batch exceeds a limit of the server: it is written in as many transactions as it takes."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    settings = {"DATABASE_STATEMENT_TIMEOUT_S": "1"} if name == "statement_timeout" else {}
    execute_each(database, AMOUNTS[name])
    load = site.load(EVENTS // 2)
    async with site.archive(**settings) as archive:
        await check(site, load)

        assert "batch_given_up" in archive.log()


async def test_a_time_for_transactions_ends_no_batch(
    kafka: str, topic_prefix: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database has a time for transactions that a batch exceeds: its sessions have others, of the archive's own."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    execute_each(database, (*SLOW_ROWS, "alter database {name} set transaction_timeout = '100ms'"))
    load = site.load(EVENTS // 2)
    async with site.archive() as archive:
        # the test's own sessions read all rows in one transaction each; the archive has started without it
        monkeypatch.setenv("PGOPTIONS", "-c transaction_timeout=0")
        await check(site, load)

        assert "batch_given_up" not in archive.log()


def execute_each(database: str, statements: Sequence[str]) -> None:
    """Execute statements one by one; `{name}` in them is the database."""
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.format(name=f'"{connection.info.dbname}"').encode())


async def test_a_table_that_is_away_is_sat_out(kafka: str, topic_prefix: str, database: str) -> None:
    """A right or a table that an operator took away is named by health, and the process goes on when it is back."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    async with site.archive() as archive:
        load = site.load(10)
        await site.wait_until_archived(load)
        execute_each(database, ["alter table dispatches rename to dispatches_away"])
        load.add(site.load(300))

        async def is_named() -> bool:
            return '"dispatches" does not exist' in (await find_problems(archive)).get("postgres", "")

        await eventually(is_named, timeout_s=60)
        pid = archive.pid
        execute_each(database, ["alter table dispatches_away rename to dispatches"])
        await check(site, load)

        assert pid == archive.pid
        await eventually(lambda: is_all_well(archive))


async def is_all_well(archive: SingleProcess) -> bool:
    return await find_problems(archive) == {}


async def test_a_server_that_restarts(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """PostgreSQL itself is stopped in mid-load and started again, once in order and once by kill -9."""
    server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
    port = urlsplit(server.url).port
    try:
        await asyncio.to_thread(migrations.migrate, server.url)
        site = await ArchiveSite(kafka, topic_prefix, server.url).prepare()
        archive = site.archive(ARCHIVE_BATCH_MAX_RECORDS="200")
        async with archive:
            loading = asyncio.create_task(asyncio.to_thread(site.load, EVENTS))
            for share, is_kill in ((10, False), (3, True)):
                await site.wait_for_events(EVENTS // share)
                if is_kill:
                    os.kill(server.pid, signal.SIGKILL)
                    await eventually(partial(is_gone, server.pid))
                await asyncio.to_thread(server.stop)
                server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path, port=port)
            await check(site, await loading)
    finally:
        await asyncio.to_thread(server.stop)
