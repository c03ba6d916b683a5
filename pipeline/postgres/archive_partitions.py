"""Day partitions of the archive: made ahead, made on demand, dropped when they have expired.

Safe with any number of archive processes: whoever changes partitions holds one advisory lock, and looks again once it
has it. What reads and writes rows does not live here.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import LiteralString

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier, Literal

from pipeline.postgres.archive_tables import TABLES, ArchiveTable

ADVISORY_LOCK = 0x686F6F6B6C696E65  # "hookline"
# A partition is attached and dropped under locks that reads must give way to: rather later than behind a long read,
# with everything else queueing up behind us.
LOCK_TIMEOUT: LiteralString = "set local lock_timeout = '5s'"
ONE_DAY = timedelta(days=1)

Connection = AsyncConnection[TupleRow]
log = structlog.get_logger()


async def list_days(connection: Connection, table: ArchiveTable) -> set[date]:
    """The days that have a partition of `table`."""
    cursor = await connection.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %s::regclass",
        (table.name,),
    )
    names = [str(row[0]) for row in await cursor.fetchall()]
    return {_parse_day(name) for name in names if name != table.default_partition}


async def ensure_days(connection: Connection, days: Iterable[date]) -> list[str]:
    """Make the partitions that are missing for `days`; their names. Rows of the day in the default partition move."""
    wanted = sorted(set(days))
    made = []
    async with connection.transaction():
        await _lock(connection)
        for table in TABLES:
            existing = await list_days(connection, table)
            for day in wanted:
                if day not in existing:
                    await _make(connection, table, day)
                    made.append(table.partition_of(day))
    if made:
        log.info("partitions_made", partitions=made)
    return made


async def ensure_partitions(connection: Connection, *, today: date, days_ahead: int) -> list[str]:
    """Make today's and the next `days_ahead` days' partitions; the names of the new ones."""
    return await ensure_days(connection, [today + number * ONE_DAY for number in range(days_ahead + 1)])


async def drop_expired(
    connection: Connection, *, today: date, retention_days: int, dry_run: bool = False
) -> Sequence[str]:
    """Drop what is older than `retention_days`; the names (with `dry_run`: only the names)."""
    first_kept = today - retention_days * ONE_DAY
    dropped = []
    for table in TABLES:
        # a table at a time, so that only one is locked
        async with connection.transaction():
            await _lock(connection)
            expired = sorted(day for day in await list_days(connection, table) if day < first_kept)
            dropped += [table.partition_of(day) for day in expired]
            if dry_run:
                continue
            for day in expired:
                await connection.execute(SQL("drop table {}").format(Identifier(table.partition_of(day))))
            await connection.execute(
                SQL("delete from {} where day < {}").format(Identifier(table.default_partition), Literal(first_kept))
            )
    if dropped and not dry_run:
        log.info("partitions_dropped", partitions=dropped)
    return dropped


async def _lock(connection: Connection) -> None:
    await connection.execute("select pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
    await connection.execute(LOCK_TIMEOUT)


async def _make(connection: Connection, table: ArchiveTable, day: date) -> None:
    """Aside first, then attached: making it in place would lock every reader out."""
    name = Identifier(table.partition_of(day))
    parent, default = Identifier(table.name), Identifier(table.default_partition)
    await connection.execute(SQL("create table {} (like {} including storage)").format(name, parent))
    # no row may come between the move and the attaching, which refuses while the default partition has rows of the day
    await connection.execute(SQL("lock table {} in access exclusive mode").format(default))
    await connection.execute(
        SQL("with moved as (delete from {} where day = {} returning *) insert into {} select * from moved").format(
            default, Literal(day), name
        )
    )
    await connection.execute(
        SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
            parent, name, Literal(day), Literal(day + ONE_DAY)
        )
    )


def _parse_day(name: str) -> date:
    return datetime.strptime(name[-8:], "%Y%m%d").date()  # noqa: DTZ007 - a day's name, not a moment
