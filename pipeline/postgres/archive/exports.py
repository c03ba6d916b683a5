"""Reading any number of rows in flat memory: by a server-side cursor, a day's partition at a time."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import LiteralString

from psycopg import AsyncServerCursor, IsolationLevel
from psycopg.rows import TupleRow

from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.reads import ArchivedEvent, ArchivedPayload
from pipeline.postgres.pool import Pool

FETCH_ROWS = 200  # held at once; of payloads of 1 KB some 300 KB


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


# One day at a time, by equality: one partition each, whatever statistics say; and in an order that an index has, so
# that nothing is sorted before the first row goes out.
EVENTS: LiteralString = (
    "select event_id::text, event_type, payload_content_type, labels, metadata, occurred_at_us, received_at_us, ip, "
    "payload, payload_compressed from events where application_id = %s and day = %s "
    "order by appended_at_us, event_offset"
)
ATTEMPTS: LiteralString = (
    "select attempt_id::text, attempt_number, delivery_id::text, event_id::text, event_type, subscription_id::text, "
    "outcome, error_class, error_detail, queued_at_us, started_at_us, finished_at_us, request_method, request_url, "
    "response_status, next_due_at_us from attempts where application_id = %s and day = %s "
    "order by event_id, delivery_id, attempt_number"
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


async def _each_row(pool: Pool, query: LiteralString, wanted: Export) -> AsyncGenerator[TupleRow, None]:
    async with _open_cursor(pool) as cursor:
        day = wanted.first
        while day <= wanted.last:
            await cursor.execute(query, (wanted.application_id, day))
            while rows := await cursor.fetchmany(FETCH_ROWS):
                for row in rows:
                    yield row
            day += timedelta(days=1)


@asynccontextmanager
async def _open_cursor(pool: Pool) -> AsyncIterator[AsyncServerCursor[TupleRow]]:
    """A cursor of the server's, in a transaction that sees one moment."""
    async with pool.connection() as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        try:
            async with connection.transaction(), connection.cursor(name="export", binary=True) as cursor:
                yield cursor
        finally:
            if not connection.broken:
                await connection.set_isolation_level(None)
                await connection.set_read_only(None)
