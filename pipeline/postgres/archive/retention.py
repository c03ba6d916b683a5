"""Days leave the archive in two steps: taken out (detached, nothing is deleted), and hours later dropped.

How many may leave within an hour is bounded over all processes, restarts included, so that a mistake (a clock, a
setting) is seen before it has gone far; until a day is dropped, `restore_day` attaches it again. The caller decides by
which clock a day is old.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import LiteralString, NamedTuple

import structlog
from psycopg.sql import SQL, Identifier

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.minutes import forget_minutes
from pipeline.postgres.archive.partitions import (
    attach_partition,
    list_days,
    list_strays,
    lock_partitions,
    lock_table,
    make_partition,
)
from pipeline.postgres.archive.tables import EPOCH, TABLES, ArchiveTable

ROUND_S = 3600
# As `alter table` takes them.
MISSING_COLUMNS: LiteralString = (
    "select concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), "
    "'default ' || pg_get_expr(d.adbin, d.adrelid), case when a.attnotnull then 'not null' end) "
    "from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum "
    "where a.attrelid = %(table)s::regclass and a.attnum > 0 and not a.attisdropped "
    "and not exists (select from pg_attribute b where b.attrelid = %(aside)s::regclass and b.attname = a.attname "
    "and not b.attisdropped) order by a.attnum"
)
log = structlog.get_logger()


class Leaving(NamedTuple):
    """Days taken out now, and how many more are old enough and have to wait for their turn."""

    days: Sequence[date]
    waiting: int


class DetachedDay(NamedTuple):
    """A day that can be attached again."""

    day: date
    tables: Sequence[str]
    detached_at: str


async def detach_expired(
    connection: Connection, *, first_kept: date, days_max: int, keep_hours: float, dry_run: bool = False
) -> Leaving:
    """Take out the oldest days before `first_kept`, `days_max` within an hour at most.

    `keep_hours`: a day that was restored stays for so long.
    """
    due = await _list_expired(connection, first_kept, keep_hours)
    room = max(0, days_max - await _count_detached_lately(connection))
    days = due[:room]
    if not dry_run:
        for day in days:
            for table in TABLES:
                async with connection.transaction():  # a table at a time, so that only one is locked
                    await lock_partitions(connection)
                    await _detach(connection, table, day)
    if days and not dry_run:
        log.warning("days_detached", days=list(map(str, days)), first_kept=str(first_kept), kept_for_hours=keep_hours)
    return Leaving(days, len(due) - len(days))


async def drop_detached(connection: Connection, *, keep_hours: float, days_max: int) -> Sequence[date]:
    """Drop days detached more than `keep_hours` ago, at most `days_max`; returns the days."""
    cursor = await connection.execute(
        "select distinct day from archive_detached "
        "where restored_at is null and detached_at <= clock_timestamp() - make_interval(secs => %s) "
        "order by day limit %s",
        (keep_hours * 3600, days_max),
    )
    days = [row[0] for row in await cursor.fetchall()]
    for day in days:
        for table in TABLES:
            async with connection.transaction():
                await lock_partitions(connection)
                if await _is_detached(connection, table, day):
                    await connection.execute(SQL("drop table {}").format(_detached(table, day)))
                    await _forget(connection, table, day)
    if days:
        log.warning("days_dropped", days=list(map(str, days)))
    return days


async def forget_companions(connection: Connection, *, first_kept: date, keep_hours: float) -> None:
    """Delete rows in companion tables of days that have left the archive.

    Events that were sent again; and, once no day that could be attached again needs them, attempts that were asked for,
    versions of subscriptions that no event of the archive has met, and minutes.
    """
    await connection.execute("delete from redriven_events where day < %s", (first_kept,))
    first_needed = first_kept - timedelta(hours=keep_hours) - timedelta(days=1)  # clocks differ, by less than a day
    await connection.execute("delete from replays where day < %s", (first_needed,))
    await connection.execute("delete from subscription_versions where ended_at < %s", (first_needed,))
    await forget_minutes(connection, first_minute=(first_needed - EPOCH) // timedelta(minutes=1))


async def list_detached(connection: Connection) -> list[DetachedDay]:
    """Days that can be attached again, oldest first."""
    cursor = await connection.execute(
        "select day, array_agg(table_name order by table_name), min(detached_at)::text from archive_detached "
        "where restored_at is null group by day order by day"
    )
    return [DetachedDay(*row) for row in await cursor.fetchall()]


async def restore_day(connection: Connection, day: date, *, dry_run: bool = False) -> dict[str, int]:
    """Attach a day again, all its tables or none; the rows by table. Rows that came for the day meanwhile stay."""
    rows = {}
    async with connection.transaction():
        await lock_partitions(connection)
        for table in TABLES:
            if not await _is_detached(connection, table, day):
                continue
            cursor = await connection.execute(SQL("select count(*) from {}").format(_detached(table, day)))
            row = await cursor.fetchone()
            rows[table.name] = int(row[0]) if row is not None else 0
            if not dry_run:
                await _attach(connection, table, day)
    if rows and not dry_run:
        log.warning("day_restored", day=str(day), rows=rows)
    return rows


async def _list_expired(connection: Connection, first_kept: date, keep_hours: float) -> list[date]:
    expired: set[date] = set()
    for table in TABLES:
        expired |= {day for day in await list_days(connection, table) if day < first_kept}
        cursor = await connection.execute(
            SQL("select distinct day from {} where day < %s").format(Identifier(table.default_partition)), (first_kept,)
        )
        expired |= {row[0] for row in await cursor.fetchall()} - await list_strays(connection, table)
    cursor = await connection.execute(
        "select day from archive_detached where restored_at > clock_timestamp() - make_interval(secs => %s)",
        (keep_hours * 3600,),
    )
    return sorted(expired - {row[0] for row in await cursor.fetchall()})


async def _count_detached_lately(connection: Connection) -> int:
    cursor = await connection.execute(
        "select count(distinct day) from archive_detached "
        "where detached_at > clock_timestamp() - make_interval(secs => %s)",
        (ROUND_S,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


async def _detach(connection: Connection, table: ArchiveTable, day: date) -> None:
    part, aside = Identifier(table.partition_of(day)), _detached(table, day)
    if day not in await list_days(connection, table):
        if day in await list_strays(connection, table):
            return
        cursor = await connection.execute(
            SQL("select from {} where day = %s limit 1").format(Identifier(table.default_partition)), (day,)
        )
        if await cursor.fetchone() is None:
            return
        await lock_table(connection, table)
        await make_partition(connection, table, day)  # takes the day's rows out of the default partition
    await connection.execute(SQL("alter table {} detach partition {}").format(Identifier(table.name), part))
    if await _is_detached(connection, table, day):
        # rows came for a day that had left: they go with it
        await _move_rows(connection, table, part, aside)
        return
    await connection.execute(SQL("alter table {} rename to {}").format(part, aside))
    await connection.execute(
        "insert into archive_detached (table_name, day) values (%s, %s) "
        "on conflict (table_name, day) do update set detached_at = clock_timestamp(), restored_at = null",
        (table.name, day),
    )


async def _attach(connection: Connection, table: ArchiveTable, day: date) -> None:
    part, aside = Identifier(table.partition_of(day)), _detached(table, day)
    if day in await list_days(connection, table):
        # made again for rows that came meanwhile: few, so that they move and not the others; a key may be in both
        await connection.execute(SQL("alter table {} detach partition {}").format(Identifier(table.name), part))
        await _move_rows(connection, table, part, aside)
    else:
        await _add_columns(connection, table, aside)
    await connection.execute(SQL("alter table {} rename to {}").format(aside, part))
    await attach_partition(connection, table, day)
    await connection.execute(
        "update archive_detached set restored_at = clock_timestamp() where table_name = %s and day = %s",
        (table.name, day),
    )


async def _move_rows(connection: Connection, table: ArchiveTable, part: Identifier, aside: Identifier) -> None:
    """Move the rows of a table that came for a day that had left to those of the day, and drop it."""
    await _add_columns(connection, table, aside)
    columns = SQL(", ").join(map(Identifier, table.columns))
    key = SQL(", ").join(map(Identifier, (*table.key, "day")))
    move = SQL("insert into {aside} ({columns}) select {columns} from {part} on conflict ({key}) do nothing")
    await connection.execute(move.format(aside=aside, part=part, columns=columns, key=key))
    await connection.execute(SQL("drop table {}").format(part))


async def _add_columns(connection: Connection, table: ArchiveTable, aside: Identifier) -> None:
    """Add the columns that the table got since the day was taken out of it."""
    names = {"table": table.name, "aside": aside.as_string(connection)}
    cursor = await connection.execute(MISSING_COLUMNS, names)
    for (column,) in await cursor.fetchall():
        await connection.execute(SQL("alter table {} add column {}").format(aside, SQL(column)))


async def _is_detached(connection: Connection, table: ArchiveTable, day: date) -> bool:
    cursor = await connection.execute(
        "select from archive_detached where table_name = %s and day = %s and restored_at is null", (table.name, day)
    )
    return await cursor.fetchone() is not None


async def _forget(connection: Connection, table: ArchiveTable, day: date) -> None:
    await connection.execute("delete from archive_detached where table_name = %s and day = %s", (table.name, day))


def _detached(table: ArchiveTable, day: date) -> Identifier:
    return Identifier(f"{table.partition_of(day)}_detached")
