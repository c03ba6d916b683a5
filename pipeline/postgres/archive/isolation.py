"""Partitions of an organization's own: who has them, since when, and the days ahead made to fit.

Days are divided while they lie ahead, and are empty; a day that has begun stays as it is. A divided day is one
partition of its table like any other: `retention` takes it out, drops and restores it whole.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import NamedTuple

import structlog
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Identifier

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.division import (
    DIVIDED,
    list_parts,
    name_suffix,
    plan_division,
    read_division,
)
from pipeline.postgres.archive.locks import find_room
from pipeline.postgres.archive.partitions import list_days, lock_partitions, make_partition
from pipeline.postgres.archive.tables import ArchiveTable

# Each has tables and indexes of its own for every day that is kept.
ISOLATED_MAX = 20
log = structlog.get_logger()


class IsolationError(Exception):
    """The change cannot be carried out; the message says why."""


class Isolated(NamedTuple):
    """An organization with partitions of its own, and what lies in them; `rows`: an estimate."""

    organization_id: str
    name: str
    isolated_from: date
    applications: int
    days: int
    rows: int
    size_bytes: int


class Planned(NamedTuple):
    """`first_day`: from when on; `partitions`: those that lie ahead and are made again."""

    first_day: date
    partitions: Sequence[str]


async def isolate(connection: Connection, organization_id: str, *, days_kept: int, dry_run: bool = False) -> Planned:
    """Give an organization partitions of its own from tomorrow (UTC) on; it may have them. Raises `IsolationError`.

    `days_kept`: how many days have partitions, with those ahead.
    """
    async with _changing(connection, dry_run=dry_run):
        tomorrow = await _find_tomorrow(connection)
        others = await _check(connection, organization_id)
        if others >= ISOLATED_MAX:
            raise IsolationError(f"{others} organizations have partitions of their own, no more may; join one first")
        await _require_room(connection, days_kept, others + 1)
        await connection.execute(
            "insert into isolated_organizations (organization_id, isolated_from) values (%s, %s) "
            "on conflict (organization_id) do nothing",
            (organization_id, tomorrow),
        )
        return Planned(tomorrow, await _divide(connection, tomorrow))


async def join(connection: Connection, organization_id: str, *, dry_run: bool = False) -> Planned:
    """Let an organization's rows lie among the others' again, from tomorrow (UTC) on. Raises `IsolationError`."""
    async with _changing(connection, dry_run=dry_run):
        cursor = await connection.execute(
            "delete from isolated_organizations where organization_id = %s", (organization_id,)
        )
        if not cursor.rowcount:
            raise IsolationError(f"organization {organization_id} has no partitions of its own")
        tomorrow = await _find_tomorrow(connection)
        return Planned(tomorrow, await _divide(connection, tomorrow))


async def divide_ahead(connection: Connection) -> Sequence[str]:
    """Divide the days ahead as they are to be by now: an application may be new. The partitions made again."""
    async with connection.transaction():
        await lock_partitions(connection)
        again = await _divide(connection, await _find_tomorrow(connection))
    if again:
        log.info("partitions_divided", partitions=again)
    return again


async def list_isolated(connection: Connection) -> list[Isolated]:
    """The organizations, in the order in which they got partitions of their own."""
    cursor = await connection.execute(
        "select organization_id::text, name, isolated_from, "
        "(select count(*) from applications a where a.organization_id = o.organization_id and a.deleted_at is null) "
        "from isolated_organizations join organizations o using (organization_id) order by isolated_from, o.created_at"
    )
    found = []
    for organization_id, name, isolated_from, applications in await cursor.fetchall():
        days, rows, size_bytes = await _measure(connection, organization_id)
        found.append(Isolated(organization_id, name, isolated_from, applications, days, rows, size_bytes))
    return found


@asynccontextmanager
async def _changing(connection: Connection, *, dry_run: bool) -> AsyncIterator[None]:
    """A transaction that alone changes partitions. Raises `IsolationError` behind a long read."""
    try:
        async with connection.transaction(force_rollback=dry_run):
            await lock_partitions(connection)
            yield
    except LockNotAvailable as error:
        raise IsolationError(
            "a table of the archive is being read for long, or the database changed; nothing was changed, try again"
        ) from error


async def _check(connection: Connection, organization_id: str) -> int:
    """How many others are isolated. Raises `IsolationError` unless there is this organization."""
    cursor = await connection.execute(
        "select (select count(*) from isolated_organizations where organization_id <> %(id)s) "
        "from organizations where organization_id = %(id)s and deleted_at is null",
        {"id": organization_id},
    )
    row = await cursor.fetchone()
    if row is None:
        raise IsolationError(f"there is no organization {organization_id}")
    return int(row[0])


async def _require_room(connection: Connection, days: int, organizations: int) -> None:
    room = await find_room(connection, days=days, organizations=organizations)
    if room.needed > room.locks_max:
        raise IsolationError(
            f"{days} days would be {room.needed} tables and indexes, and PostgreSQL can have {room.locks_max} locked: "
            f"lists would fail. Set its max_locks_per_transaction to {room.needed_per_session} or more, and restart it"
        )


async def _find_tomorrow(connection: Connection) -> date:
    cursor = await connection.execute("select (clock_timestamp() at time zone 'utc')::date + 1")
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    tomorrow: date = row[0]
    return tomorrow


async def _measure(connection: Connection, organization_id: str) -> tuple[int, int, int]:
    """Days, rows by estimate, and bytes."""
    cursor = await connection.execute(
        "select count(distinct right(p.relname, 8)), coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint, "
        "coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint "
        "from pg_class c join pg_inherits i on i.inhrelid = c.oid join pg_class p on p.oid = i.inhparent "
        "where c.relkind = 'r' and c.relname = p.relname || '_' || %s",
        (name_suffix(organization_id),),
    )
    return await cursor.fetchone() or (0, 0, 0)


async def _divide(connection: Connection, first_day: date) -> list[str]:
    again = []
    for table in DIVIDED:
        for day in sorted(await list_days(connection, table)):
            if day >= first_day and await read_division(connection, table, day) != await plan_division(
                connection, table, day
            ):
                await _make_again(connection, table, day)
                again.append(table.partition_of(day))
    return again


async def _make_again(connection: Connection, table: ArchiveTable, day: date) -> None:
    """Rows of the day, of which there are none unless clocks differ, move along."""
    name = table.partition_of(day)
    old = Identifier(f"{name}_old")
    await connection.execute(SQL("alter table {} detach partition {}").format(Identifier(table.name), Identifier(name)))
    for part in (*(part for part, _ in await list_parts(connection, name)), name):
        await connection.execute(SQL("alter table {} rename to {}").format(Identifier(part), Identifier(f"{part}_old")))
    await make_partition(connection, table, day)
    await connection.execute(SQL("insert into {} select * from {}").format(Identifier(name), old))
    await connection.execute(SQL("drop table {}").format(old))
