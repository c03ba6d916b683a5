"""The archive's part of the ledger: counts by application, and deliveries that have not ended, a day at a time.

All on one connection, inside one snapshot (`open_snapshot`). A day's rows of the tables share a partition's day, so
that each comparison is a join of two partitions; the few rows left over are looked up by key.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import LiteralString
from uuid import UUID

from psycopg import IsolationLevel
from psycopg.sql import SQL, Composed, Identifier

from pipeline.core.log.positions import Place
from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.partitions import list_days
from pipeline.postgres.archive.tables import EVENTS

FETCH_ROWS = 10_000
# Any number that no other advisory lock of this database has.
WATCH_LOCK = 0x686F6F6B


class Part:
    """Where to count: one day's partitions, or (None) the default partitions, whose rows have other days."""

    def __init__(self, day: date | None) -> None:
        self.day = day

    def select(self, table: LiteralString, alias: LiteralString) -> Composed:
        """`table` of this part, as `alias`."""
        if self.day is None:
            return SQL("{} {}").format(Identifier(f"{table}_default"), SQL(alias))
        return SQL("(select * from {} where day = {}) {}").format(Identifier(table), self.day, SQL(alias))


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """An event without a dispatch on its own day. `is_dispatched`: it has one on another day."""

    application_id: str
    event_id: str
    partition: int
    offset: int
    is_dispatched: bool
    is_refused: bool


@dataclass(frozen=True, slots=True)
class OpenDelivery:
    """A delivery that was never answered with success. The place of its event is None without a dispatch."""

    application_id: str
    delivery_id: bytes
    event_partition: int | None
    event_offset: int | None
    is_dead: bool
    is_cancelled: bool


async def try_watch_lock(connection: Connection) -> bool:
    """Is this session the one that counts regularly? Held as long as the session."""
    # locks are the database's, and another installation may have another schema of it
    cursor = await connection.execute(
        "select pg_try_advisory_lock(%s, (oid::bigint & 2147483647)::int) from pg_class "
        "where oid = 'archive_offsets'::regclass",
        (WATCH_LOCK,),
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


@asynccontextmanager
async def open_snapshot(connection: Connection) -> AsyncIterator[None]:
    """Everything read inside sees one moment."""
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    async with connection.transaction():
        yield


async def read_positions(connection: Connection) -> dict[Place, int]:
    """The next offset to archive of each partition."""
    cursor = await connection.execute("select topic, partition, greatest(next_offset, 0) from archive_offsets")
    return {(topic, partition): offset for topic, partition, offset in await cursor.fetchall()}


async def list_parts(connection: Connection) -> list[Part]:
    """Oldest day first; the default partitions only if they hold anything."""
    parts = [Part(day) for day in sorted(await list_days(connection, EVENTS))]
    cursor = await connection.execute(
        "select exists (select from events_default) or exists (select from deliveries_default)"
    )
    row = await cursor.fetchone()
    return [*parts, Part(None)] if row is not None and row[0] else parts


async def count_events(connection: Connection, part: Part) -> dict[str, int]:
    """Events by application."""
    return await _count(connection, SQL("count(*) from {}").format(part.select("events", "e")))


async def count_matches(connection: Connection, part: Part) -> dict[str, int]:
    """Matched deliveries by the dispatches, by application."""
    return await _count(connection, SQL("sum(matches_count)::bigint from {}").format(part.select("dispatches", "d")))


async def count_deliveries(connection: Connection, part: Part) -> dict[str, int]:
    """Delivery rows by application: as many as were matched."""
    return await _count(connection, SQL("count(*) from {}").format(part.select("deliveries", "d")))


async def each_open_event(connection: Connection, part: Part, events_topic: str) -> AsyncIterator[OpenEvent]:
    """Events that have no dispatch on their day."""
    query = SQL("""
with rest as materialized (
    select e.application_id, e.event_id, e.event_partition, e.event_offset from {events}
    where not exists (select from {dispatches}
        where d.application_id = e.application_id and d.event_id = e.event_id and d.day = e.day)
)
select r.application_id::text, r.event_id::text, r.event_partition, r.event_offset,
    exists (select from dispatches d where d.application_id = r.application_id and d.event_id = r.event_id offset 0),
    exists (select from dead_letters l where l.application_id = r.application_id and l.event_id = r.event_id
        and l.delivery_id is null and l.source_topic = {topic} offset 0)
from rest r
""").format(events=part.select("events", "e"), dispatches=part.select("dispatches", "d"), topic=events_topic)
    async with connection.cursor(name="open_events") as cursor:
        cursor.itersize = FETCH_ROWS
        await cursor.execute(query)
        async for row in cursor:
            yield OpenEvent(*row)


async def each_open_delivery(connection: Connection, part: Part) -> AsyncIterator[OpenDelivery]:
    """Deliveries that no attempt brought to success."""
    query = SQL("""
with rest as materialized (
    select d.day, d.application_id, d.event_id, d.delivery_id from {deliveries}
    where not exists (select from {attempts}
        where a.application_id = d.application_id and a.event_id = d.event_id and a.delivery_id = d.delivery_id
        and a.day = d.day and a.outcome = 'succeeded')
)
select r.application_id::text, uuid_send(r.delivery_id), p.event_partition, p.event_offset,
    exists (select from dead_letters l left join redrives x using (dead_id)
        where l.application_id = r.application_id and l.event_id = r.event_id and l.delivery_id = r.delivery_id
        and x.dead_id is null offset 0),
    exists (select from attempts a where a.application_id = r.application_id and a.event_id = r.event_id
        and a.delivery_id = r.delivery_id and a.day = r.day and a.outcome = 'cancelled' offset 0)
from rest r left join lateral (select event_partition, event_offset from dispatches p
    where p.application_id = r.application_id and p.event_id = r.event_id and p.day = r.day offset 0) p on true
""").format(deliveries=part.select("deliveries", "d"), attempts=part.select("attempts", "a"))
    async with connection.cursor(name="open_deliveries", binary=True) as cursor:
        cursor.itersize = FETCH_ROWS
        await cursor.execute(query)
        async for row in cursor:
            yield OpenDelivery(*row)


async def list_gaps(
    connection: Connection, topic: str, begins: Mapping[int, int], ends: Mapping[int, int]
) -> list[tuple[int, int, int]]:
    """Offsets between `begins` and `ends` of the events topic that no row came from: (partition, first, one past).

    By partition. They hold markers, repeats of an event, or nothing; or an event that the archive has lost.
    """
    cursor = await connection.execute(
        """
with bounds as (select * from unnest(%(partitions)s::int[], %(begins)s::bigint[], %(ends)s::bigint[])
    as b (partition, begins, ends)),
known as (
    select event_partition as partition, event_offset as at from events
    union all
    select source_partition, source_offset from dead_letters where source_topic = %(topic)s
    union all
    select partition, ends from bounds
),
steps as (select partition, at, lag(at) over (partition by partition order by at) as before from known)
select s.partition, greatest(coalesce(s.before + 1, 0), b.begins) as first, least(s.at, b.ends) as end
from steps s join bounds b using (partition)
where least(s.at, b.ends) > greatest(coalesce(s.before + 1, 0), b.begins)
order by 1, 2
""",
        {
            "topic": topic,
            "partitions": list(begins),
            "begins": list(begins.values()),
            "ends": [ends.get(partition, 0) for partition in begins],
        },
    )
    return [(partition, first, end) for partition, first, end in await cursor.fetchall()]


async def find_events(connection: Connection, pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of the (application_id, event_id) pairs are archived, on whatever day."""
    cursor = await connection.execute(
        "select w.application_id::text, w.event_id::text from unnest(%s::uuid[], %s::uuid[]) "
        "as w (application_id, event_id) where exists (select from events e "
        "where e.application_id = w.application_id and e.event_id = w.event_id offset 0)",
        ([UUID(application_id) for application_id, _ in pairs], [UUID(event_id) for _, event_id in pairs]),
    )
    return {(application_id, event_id) for application_id, event_id in await cursor.fetchall()}


async def _count(connection: Connection, selected: Composed) -> dict[str, int]:
    cursor = await connection.execute(SQL("select application_id::text, {} group by 1").format(selected))
    return {application_id: int(count) for application_id, count in await cursor.fetchall()}
