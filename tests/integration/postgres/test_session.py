"""A role or a database has defaults that change what a statement means: ours go before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, tuple_row
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.connection import open_archive_connection, open_long_connection
from pipeline.postgres.pool import Pool, open_pool
from tests.support.eventually import eventually
from tests.support.postgres import set_defaults

TEXT = "größe 漢字 😀"


@asynccontextmanager
async def running_pool(url: str, *, is_bare: bool = False) -> AsyncIterator[Pool]:
    pool = await open_pool(DatabaseConfig(pool_size=4), SecretStr(url), name="test", is_bare=is_bare)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.mark.parametrize("is_bare", [False, True])
async def test_any_text_can_be_written_and_read(odd_database: str, is_bare: bool) -> None:
    """A pool of either kind."""
    async with running_pool(odd_database, is_bare=is_bare) as pool:
        assert [(TEXT,)] == await pool.fetch(b"select %s::text", (TEXT,), tuple_row)


async def test_times_are_read_as_they_are(odd_database: str) -> None:
    """Times, spans and fractions as they were written; a day is one of UTC."""
    at = datetime(2026, 11, 30, 20, 0, 0, 123456, tzinfo=UTC)
    values = (at, timedelta(days=1, seconds=2.5), 0.1 + 0.2, [None, "a"])
    query = b"select %s::timestamptz, %s::interval, %s::float8, %s::text[], %s::timestamptz::date"
    async with running_pool(odd_database) as pool:
        ((*found, day),) = await pool.fetch(query, (*values, at), tuple_row)

    assert [*values] == found
    assert at.date() == day


async def test_connections_of_the_archive_as_well(odd_database: str) -> None:
    """The one that writes, and the one that counts."""
    config = DatabaseConfig(write_url=SecretStr(odd_database))
    for opening in (open_archive_connection(config), open_long_connection(config)):
        async with await opening as connection:
            assert (TEXT,) == await (await connection.execute("select %s::text", (TEXT,))).fetchone()
            assert ("read committed",) == await (await connection.execute("show transaction_isolation")).fetchone()


async def test_changes_wait_for_each_other(odd_database: str) -> None:
    """A change that another one was quicker than goes on with what that one left."""
    async with running_pool(odd_database) as pool, pool.connection() as first:
        await first.execute("insert into organizations (organization_id, name) values (gen_random_uuid(), 'a')")
        await first.commit()
        await append(first, "b")
        second = asyncio.create_task(append_in(pool, "c"))
        await eventually(lambda: count_waiting(odd_database) == 1)
        await first.commit()
        await second

        assert [("abc",)] == await pool.fetch(b"select name from organizations", (), tuple_row)


async def append(connection: AsyncConnection[TupleRow], text: str) -> None:
    await connection.execute("update organizations set name = name || %s", (text,))


async def append_in(pool: Pool, text: str) -> None:
    async with pool.connection() as connection:
        await append(connection, text)


def count_waiting(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return int(row[0]) if row else 0


async def test_options_of_the_url_stay(database: str) -> None:
    """A deployment names its schema there."""
    async with running_pool(f"{database}?options=-csearch_path%3Dother") as pool:
        assert [("other",)] == await pool.fetch(b"show search_path", (), tuple_row)


@pytest.mark.parametrize("is_bare", [False, True])
@pytest.mark.parametrize(("default", "expected"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_changes_outlast_a_crash(database: str, default: str, expected: str, is_bare: bool) -> None:
    """A role's sessions may have been told not to wait for the disk; to wait for more than that is theirs to ask."""
    set_defaults(database, {"synchronous_commit": default})
    async with running_pool(database, is_bare=is_bare) as pool:
        assert [(expected,)] == await pool.fetch(b"show synchronous_commit", (), tuple_row)


@pytest.mark.parametrize("is_bare", [False, True])
async def test_changes_are_noted_where_triggers_are_off(database: str, is_bare: bool) -> None:
    """A server may be told to fire none, as for a copy: a change has its entry in the audit log all the same."""
    set_defaults(database, {"session_replication_role": "replica"})
    insert = b"insert into organizations (organization_id, name) values (gen_random_uuid(), 'a') returning 1"
    async with running_pool(database, is_bare=is_bare) as pool:
        await pool.fetch(insert, (), tuple_row)

        assert [(1,)] == await pool.fetch(b"select count(*) from audit_log", (), tuple_row)


HASTE = {
    "transaction_timeout": "1500ms",
    "idle_session_timeout": "1500ms",
    "idle_in_transaction_session_timeout": "1500ms",
    "lock_timeout": "1ms",
}


@pytest.fixture
def hasty_database(database: str) -> str:
    """The server gives sessions less time than they may need."""
    set_defaults(database, HASTE)
    return database


@pytest.mark.parametrize("is_bare", [False, True])
async def test_times_of_a_role_end_nothing(hasty_database: str, is_bare: bool) -> None:
    """A pool's statements and transactions take as long as they may by our settings."""
    async with running_pool(hasty_database, is_bare=is_bare) as pool:
        found = [(await pool.fetch(f"show {name}".encode(), (), tuple_row))[0][0] for name in HASTE]

    assert ["0", "0", "5min", "0"] == found


async def test_times_of_a_role_end_nothing_of_the_archive(hasty_database: str) -> None:
    """Neither where it writes nor where it counts."""
    config = DatabaseConfig(write_url=SecretStr(hasty_database))
    for opening in (open_archive_connection(config), open_long_connection(config)):
        async with await opening as connection, connection.transaction():
            found = [await (await connection.execute(f"show {name}".encode())).fetchone() for name in HASTE]

            assert not set(HASTE.values()) & {row[0] for row in found if row}
