"""Day partitions of the archive: made ahead, made on demand. How they leave again lives in `retention`, what they are
divided into in `division`.

Safe with any number of archive processes: changes of partitions happen under one advisory lock, and look again once
they have it. Reading and writing of rows lives elsewhere.
"""

import asyncio
import time
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import LiteralString

import structlog
from psycopg import AsyncClientCursor
from psycopg.errors import LockNotAvailable
from psycopg.sql import SQL, Identifier, Literal

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.division import create_day
from pipeline.postgres.archive.tables import TABLES, ArchiveTable
from pipeline.postgres.own_locks import AGAIN_AFTER_S, DIVIDING, TRY

# Partitions change under locks that reads must give way to. Rather later than behind a long read, with everything else
# queueing up behind us; and where a read has what we wait for, and waits for what we have, before PostgreSQL notices
# (`deadlock_timeout`, 1 s unless set) and fails the one or the other.
LOCK_TIMEOUT: LiteralString = (
    "select set_config('lock_timeout', least(5000, extract(epoch from "
    "current_setting('deadlock_timeout')::interval) * 500)::int::text, true)"
)
PATIENCE_S = 30.0  # with others that change them
ONE_DAY = timedelta(days=1)

log = structlog.get_logger()


async def list_days(connection: Connection, table: ArchiveTable) -> set[date]:
    """The days that have a partition of `table`."""
    cursor = await connection.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %s::regclass",
        (table.name,),
    )
    names = [str(row[0]) for row in await cursor.fetchall()]
    return {_parse_day(name) for name in names if name != table.default_partition}


async def list_strays(connection: Connection, table: ArchiveTable) -> set[date]:
    """The days whose partition has been detached by hand: its name is taken, so that no other can be made.

    Only who detached it knows what it is wanted for. Until it is renamed, attached or dropped, the default partition
    has the day's rows.
    """
    cursor = await connection.execute(
        "select c.relname from pg_class c where c.relnamespace = (select relnamespace from pg_class "
        "where oid = %s::regclass) and c.relname ~ %s and c.relkind in ('r', 'p') and not c.relispartition",
        (table.name, f"^{table.name}_[0-9]{{8}}$"),
    )
    return {_parse_day(str(row[0])) for row in await cursor.fetchall()}


async def ensure_days(connection: Connection, days: Iterable[date]) -> list[str]:
    """Make the partitions that are missing for `days`; their names. Rows of the day in the default partition move.

    None is made whose name is taken (`list_strays`). Raises `LockNotAvailable` behind a long read; those that were made
    until then stay.
    """
    wanted = sorted(set(days))
    made: list[str] = []
    try:
        for table in TABLES:
            async with connection.transaction():  # a table at a time, so that only one is locked
                await lock_partitions(connection)
                taken = await list_days(connection, table) | await list_strays(connection, table)
                missing = [day for day in wanted if day not in taken]
                for day in missing:
                    await make_partition(connection, table, day)
            made += [table.partition_of(day) for day in missing]
    finally:
        if made:
            log.info("partitions_made", partitions=made)
    return made


async def lock_partitions(connection: Connection, *, patience_s: float = PATIENCE_S) -> None:
    """Lock partitions against other changes for this transaction; its statements give way to reads.

    Raises `LockNotAvailable` when another process changes partitions, or migrates, for longer than `patience_s`.
    """
    give_up_at_s = time.monotonic() + patience_s
    cursor = AsyncClientCursor(connection)
    while await (await cursor.execute(TRY, DIVIDING.values)).fetchone() != (True,):
        if time.monotonic() > give_up_at_s:
            raise LockNotAvailable(f"another process has changed partitions, or migrated, for {patience_s:g} s")
        await asyncio.sleep(AGAIN_AFTER_S)
    await connection.execute(LOCK_TIMEOUT)


async def lock_table(connection: Connection, table: ArchiveTable) -> None:
    """Lock a table before its default partition, in the order of reads: for a transaction that detaches a partition."""
    await connection.execute(SQL("lock table only {} in access exclusive mode").format(Identifier(table.name)))


async def make_partition(connection: Connection, table: ArchiveTable, day: date) -> None:
    """Make one day's partition. Aside first, then attached: making it in place would lock every reader out."""
    await create_day(connection, table, day)
    await attach_partition(connection, table, day)


async def attach_partition(connection: Connection, table: ArchiveTable, day: date) -> None:
    """Attach a table that has the name of the day's partition. The day's rows in the default partition move into it."""
    name = Identifier(table.partition_of(day))
    parent, default = Identifier(table.name), Identifier(table.default_partition)
    # no row may come between the move and the attaching, which refuses while the default partition has rows of the day
    await connection.execute(SQL("lock table {} in access exclusive mode").format(default))
    await connection.execute(
        SQL(
            "with moved as (delete from {} where day = {} returning *) "
            "insert into {} select * from moved on conflict ({}, day) do nothing"
        ).format(default, Literal(day), name, SQL(", ").join(map(Identifier, table.key)))
    )
    await connection.execute(
        SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
            parent, name, Literal(day), Literal(day + ONE_DAY)
        )
    )


def _parse_day(name: str) -> date:
    return datetime.strptime(name[-8:], "%Y%m%d").date()  # noqa: DTZ007 - a day's name, not a moment
