"""Reading any number of rows in flat memory: a day's partition at a time, in pages by an index.

Between two pages there is neither a connection nor a transaction: a client that reads slowly would keep a place of the
pool, and locks and a snapshot in the server, for as long as it liked. No day could leave the archive meanwhile.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.reads import ArchivedEvent, ArchivedPayload
from pipeline.postgres.pool import Pool

FETCH_ROWS = 200  # held at once; of payloads of 1 KB some 300 KB
NIL = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Which rows: of one application, from the first to the last day in which their events were accepted (UTC)."""

    application_id: str
    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAttempt:
    """An attempt that was made, or cancelled."""

    attempt_id: str
    attempt_number: int
    delivery_id: str
    event_id: str
    event_type: str
    subscription_id: str
    outcome: str
    error_class: str | None
    error_detail: str | None
    queued_at_us: int
    started_at_us: int
    finished_at_us: int
    request_method: str
    request_url: str
    response_status: int | None
    next_due_at_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The statement for a page, the place before all rows, and the place of a row."""

    query: LiteralString
    start: Sequence[object]
    place_of: Callable[[TupleRow], Sequence[object]]


# One day at a time, by equality: one partition each, whatever statistics say; and in an order that an index has, so
# that nothing is sorted before the first row goes out.
EVENTS = _Way(
    query="select event_id::text, event_type, payload_content_type, labels, metadata, occurred_at_us, received_at_us, "
    "ip, payload, payload_compressed, appended_at_us, event_offset from events where application_id = %s and day = %s "
    "and (appended_at_us, event_offset) > (%s, %s) order by appended_at_us, event_offset limit %s",
    start=(-1, -1),
    place_of=lambda row: row[10:12],
)
ATTEMPTS = _Way(
    query="select attempt_id::text, attempt_number, delivery_id::text, event_id::text, event_type, "
    "subscription_id::text, outcome, error_class, error_detail, queued_at_us, started_at_us, finished_at_us, "
    "request_method, request_url, response_status, next_due_at_us from attempts where application_id = %s and day = %s "
    "and (event_id, delivery_id, attempt_number) > (%s::uuid, %s::uuid, %s) "
    "order by event_id, delivery_id, attempt_number limit %s",
    start=(NIL, NIL, 0),
    place_of=lambda row: (row[3], row[2], row[1]),
)


async def export_events(pool: Pool, wanted: Export) -> AsyncGenerator[ArchivedPayload, None]:
    """Events with their payloads, in the order of the log."""
    async with aclosing(_each_row(pool, EVENTS, wanted)) as rows:
        async for row in rows:
            yield ArchivedPayload(
                event=ArchivedEvent(*row[:8]),
                payload=unpack_body(row[8], compressed=row[9]),
            )


async def export_attempts(pool: Pool, wanted: Export) -> AsyncGenerator[MadeAttempt, None]:
    """Attempts by day of their event, then by event, delivery and number."""
    names = tuple(MadeAttempt.__dataclass_fields__)
    async with aclosing(_each_row(pool, ATTEMPTS, wanted)) as rows:
        async for row in rows:
            yield MadeAttempt(**dict(zip(names, row, strict=True)))


async def _each_row(pool: Pool, way: _Way, wanted: Export) -> AsyncGenerator[TupleRow, None]:
    for number in range((wanted.last - wanted.first).days + 1):
        day, place = wanted.first + timedelta(days=number), way.start
        while rows := await _read_page(pool, way.query, (wanted.application_id, day, *place, FETCH_ROWS)):
            for row in rows:
                yield row
            if len(rows) < FETCH_ROWS:
                break
            place = way.place_of(rows[-1])


async def _read_page(pool: Pool, query: LiteralString, values: Sequence[object]) -> list[TupleRow]:
    async with pool.connection() as connection, connection.cursor(binary=True) as cursor:
        await cursor.execute(query, values, prepare=True)
        return await cursor.fetchall()
