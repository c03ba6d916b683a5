"""A pool works again soon after its server does, whatever became of its sessions."""

import asyncio
import contextlib
import select
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.metrics import Metrics
from pipeline.postgres.pool import DatabaseUnavailable, Pool, open_pool
from pipeline.postgres.pool_watch import PoolWatch
from pipeline.tenant import work_for
from tests.support.eventually import eventually
from tests.support.postgres import name_of
from tests.support.proxy import TcpProxy
from tests.support.stack import move_url

SESSIONS = 4
# five seconds on a machine that does nothing else; attempts that double would come thirteen seconds later
RECOVERY_MAX_S = 10.0


@asynccontextmanager
async def watched_pool(
    url: str, *, statement_timeout_s: float = 30.0, **options: bool
) -> AsyncIterator[tuple[Pool, Callable[[], str | None]]]:
    """A pool of `SESSIONS` sessions, all of them open; and its health."""
    config = DatabaseConfig(pool_size=SESSIONS, connect_timeout_s=2, statement_timeout_s=statement_timeout_s)
    pool = await open_pool(config, SecretStr(url), name="test", **options)
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    watching = asyncio.create_task(watch.run())
    try:
        await fill(pool)
        yield pool, watch.check
    finally:
        watching.cancel()
        await pool.close()


async def fill(pool: Pool) -> None:
    """Use all sessions at once."""
    everyone = asyncio.Barrier(SESSIONS)

    async def use() -> None:
        async with pool.connection(timeout=20):
            await everyone.wait()

    await asyncio.gather(*(use() for _ in range(SESSIONS)))


async def change(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("insert into organizations (organization_id, name) values (gen_random_uuid(), 'a')")


async def idle(pool: Pool) -> None:
    """Leave a transaction open until the server ends the session."""
    async with pool.connection() as connection:
        await connection.execute("set idle_in_transaction_session_timeout = '100ms'")
        # the server's last words are to be read
        await eventually(lambda: select.select([connection.fileno()], [], [], 0)[0])
        await connection.execute("select 1")


async def can_change(pool: Pool) -> bool:
    try:
        await change(pool)
    except DatabaseUnavailable:
        return False
    return True


@pytest.mark.parametrize("is_bare", [False, True])
async def test_a_tenant_leaves_connections_to_others(database: str, is_bare: bool) -> None:
    """One with more requests than there are sessions holds up its own: another one's are served meanwhile."""
    async with watched_pool(database, is_bare=is_bare) as (pool, _):
        asked = [asyncio.create_task(sleep_for("busy", pool)) for _ in range(3 * SESSIONS)]
        await eventually(lambda: count_sleeping(database) >= 3)
        work_for("other")
        found = [await pool.fetch(b"select 1", (), tuple_row) for _ in range(3)]
        answered = sum(task.done() for task in asked)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    assert [[(1,)]] * 3 == found
    assert answered == 0


async def sleep_for(tenant: str, pool: Pool) -> None:
    work_for(tenant)
    await pool.fetch(b"select pg_sleep(60)", (), tuple_row)


def count_sleeping(database: str) -> int:
    query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    with psycopg.connect(database) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
        return int(count)


async def test_back_soon_after_a_long_outage(database: str) -> None:
    """The time to recover does not grow with the outage: attempts come every second or two, not ever more rarely."""
    parts = urlsplit(database)
    assert parts.hostname is not None
    async with (
        TcpProxy(parts.hostname, parts.port or 5432) as proxy,
        watched_pool(move_url(database, proxy.address)) as (pool, check),
    ):
        proxy.cut()
        await eventually(lambda: check() is not None)
        cut_at_s = time.monotonic()
        while time.monotonic() < cut_at_s + 18:  # attempts that double are then 16 s apart
            assert not await can_change(pool)
        proxy.restore()
        restored_at_s = time.monotonic()
        await eventually(lambda: can_change(pool))
        took_s = time.monotonic() - restored_at_s
        await eventually(lambda: check() is None)

        assert took_s < RECOVERY_MAX_S


async def test_a_silent_server(database: str) -> None:
    """A server, or a pooler, that says nothing at all: health says so, a request ends, and all goes on afterwards."""
    parts = urlsplit(database)
    assert parts.hostname is not None
    async with (
        TcpProxy(parts.hostname, parts.port or 5432) as proxy,
        watched_pool(move_url(database, proxy.address), statement_timeout_s=1) as (pool, check),
    ):
        await eventually(lambda: check() is None)
        proxy.blackhole()
        assert not await can_change(pool)
        await eventually(lambda: check() is not None, timeout_s=60)
        proxy.restore()
        await eventually(lambda: can_change(pool), timeout_s=60)
        await eventually(lambda: check() is None)


@pytest.mark.parametrize("is_bare", [False, True])
async def test_read_only_sessions_are_replaced(database: str, is_bare: bool) -> None:
    """Sessions to a server that takes no changes after a failover are closed when there is a better one."""
    with psycopg.connect(database, autocommit=True) as admin:
        alter = SQL("alter database {} set default_transaction_read_only = {}")
        admin.execute(alter.format(Identifier(name_of(database)), SQL("on")))
        async with watched_pool(database, is_bare=is_bare) as (pool, check):
            with pytest.raises(errors.ReadOnlySqlTransaction):
                await change(pool)
            await eventually(lambda: check() is not None)
            admin.execute("set default_transaction_read_only = off")
            admin.execute(alter.format(Identifier(name_of(database)), SQL("off")))
            await eventually(lambda: check() is None)

            assert [True] * SESSIONS == [await can_change(pool) for _ in range(SESSIONS)]


async def test_sessions_opened_while_others_were_replaced_are_replaced_too(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one that is asked can write, and others behind it cannot: they were being opened at that time."""
    monkeypatch.setattr("pipeline.postgres.pool_watch.INTERVAL_S", 60.0)  # each run asks once
    pool = await open_pool(DatabaseConfig(pool_size=SESSIONS), SecretStr(database), name="test")
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    async with pool:
        await set_read_only(pool, SESSIONS)
        watching = asyncio.create_task(watch.run())
        await eventually(lambda: watch.check() is not None)
        watching.cancel()
        await set_read_only(pool, SESSIONS - 1)
        watching = asyncio.create_task(watch.run())
        await eventually(lambda: watch.check() is None)
        watching.cancel()

        assert [True] * SESSIONS == [await can_change(pool) for _ in range(SESSIONS)]


async def set_read_only(pool: Pool, sessions: int) -> None:
    """Let so many sessions of a pool be of a server that takes no changes, and the others be the next ones in turn."""
    async with contextlib.AsyncExitStack() as held:  # the last one is given back first
        for number in range(SESSIONS):
            connection = await held.enter_async_context(pool.connection(timeout=20))
            value = "on" if number < sessions else "off"
            await connection.execute(f"set default_transaction_read_only = {value}".encode())


FILL_THE_DISK = """
    create function refuse() returns trigger language plpgsql as
        $$ begin raise 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
    create function refuse_all() returns event_trigger language plpgsql as
        $$ begin raise 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
    create trigger full_disk before insert on organizations execute function refuse();
    create event trigger full_disk on ddl_command_start when tag in ('CREATE TABLE AS') execute function refuse_all();
"""
MAKE_ROOM = "drop event trigger full_disk; drop trigger full_disk on organizations"


async def test_a_full_disk(database: str) -> None:
    """A server that answers questions and cannot write is named for as long, whether there are changes or not."""
    with psycopg.connect(database, autocommit=True) as admin:
        async with watched_pool(database) as (pool, check):
            await eventually(lambda: check() is None)
            admin.execute(FILL_THE_DISK)
            with pytest.raises(errors.DiskFull):
                await change(pool)
            await eventually(lambda: "No space left" in (check() or ""))
            found = await pool.fetch(b"select 1", (), tuple_row)
            admin.execute(MAKE_ROOM)
            await eventually(lambda: check() is None)

            assert [(1,)] == found
            assert await can_change(pool)


async def test_sessions_the_server_closed(database: str) -> None:
    """A restart of the server closes every session: at most the requests that were using one notice."""
    async with watched_pool(database) as (pool, _):
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        started_at_s = time.monotonic()

        assert [True] * SESSIONS == await asyncio.gather(*(can_change(pool) for _ in range(SESSIONS)))
        assert time.monotonic() - started_at_s < RECOVERY_MAX_S


@pytest.mark.parametrize("is_bare", [False, True])
async def test_a_single_statement_finds_another_session(database: str, is_bare: bool) -> None:
    """A look-up whose session the server has closed meanwhile is answered by another one."""
    async with watched_pool(database, is_bare=is_bare) as (pool, _):
        await asyncio.gather(*(pool.fetch(b"select 1", (), tuple_row) for _ in range(SESSIONS)))
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

        found = await asyncio.gather(*(pool.fetch(b"select %s::int", (n,), tuple_row) for n in range(SESSIONS)))

        assert [[(n,)] for n in range(SESSIONS)] == found


async def test_a_statement_that_fails_is_not_repeated(database: str) -> None:
    """A mistake, or a statement that was cancelled, comes back at once; the session stays in use."""
    async with watched_pool(database, is_bare=True) as (pool, _):
        with pytest.raises(errors.QueryCanceled):
            await pool.fetch(b"select pg_cancel_backend(pg_backend_pid()), pg_sleep(20)", (), tuple_row)
        with pytest.raises(errors.UndefinedTable):
            await pool.fetch(b"select from nowhere", (), tuple_row)

        assert 1 == (await pool.fetch(b"select 1", (), tuple_row))[0][0]


async def test_a_session_that_was_idle_for_too_long(database: str) -> None:
    """A server that ends transactions left open (25P03) is away for that request, which is no mistake of ours."""
    async with watched_pool(database) as (pool, _):
        with pytest.raises(DatabaseUnavailable):
            await idle(pool)

        assert await can_change(pool)
