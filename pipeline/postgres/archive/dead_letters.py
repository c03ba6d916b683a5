"""Dead letters in the archive, and which of them were sent again."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncClientCursor
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable, Composed

from pipeline.core.trace_context import TraceHeaders, make_headers
from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.paging import Cursor
from pipeline.postgres.own_locks import REDRIVING, TRY
from pipeline.postgres.pool import Pool

PAGE_MAX = 500

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedLetter:
    """A dead letter. `redriven_at`: when it was sent again; None: it was not."""

    dead_id: str
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    application_id: str | None
    subscription_id: str | None
    delivery_id: str | None
    event_id: str | None
    died_at_us: int
    redriven_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterContent:
    """The record that died, as it was. `trace`: its context; None: it had none."""

    dead_id: str
    source_key: bytes | None
    source_value: bytes | None
    source_headers: Headers
    trace: TraceHeaders | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters. None: any. Bounds of time are inclusive; `after`: a place in the list."""

    application_id: str | None = None
    subscription_id: str | None = None
    event_id: str | None = None
    reason: str | None = None
    dead_ids: tuple[str, ...] | None = None
    died_min_us: int | None = None
    died_max_us: int | None = None
    with_redriven: bool = False
    after: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContentRow:
    dead_id: str
    source_key: bytes | None
    source_value: bytes | None
    source_value_compressed: bool
    source_headers: str | None
    traceparent: str | None
    tracestate: str | None


async def list_letters(pool: Pool, wanted: LetterFilter, *, limit: int = PAGE_MAX) -> list[ArchivedLetter]:
    """Oldest first."""
    where, values = _select(wanted)
    is_backward = wanted.after is not None and wanted.after.is_backward
    query = SQL(
        "select l.dead_id::text, l.reason, l.detail, l.source_topic, l.source_partition, l.source_offset, "
        "l.application_id::text, l.subscription_id::text, l.delivery_id::text, l.event_id::text, l.died_at_us, "
        "r.redriven_at from dead_letters l left join redrives r using (dead_id) where {} "
        "order by l.died_at_us {way}, l.dead_id {way} limit %(limit)s"
    ).format(where, way=SQL("desc" if is_backward else "asc"))
    found = await pool.fetch(query.as_bytes(None), values | {"limit": limit}, class_row(ArchivedLetter))
    return found[::-1] if is_backward else found


async def count_letters(pool: Pool, wanted: LetterFilter) -> dict[str, int]:
    """The number of letters, by reason."""
    where, values = _select(wanted)
    query = SQL(
        "select l.reason, count(*) from dead_letters l left join redrives r using (dead_id) where {} "
        "group by l.reason order by l.reason"
    ).format(where)
    async with pool.connection() as connection:
        cursor = await connection.execute(query, values)
        return {str(reason): int(count) for reason, count in await cursor.fetchall()}


async def measure_contents(pool: Pool, dead_ids: Sequence[str]) -> dict[str, int]:
    """The bytes that each letter's record takes in the archive."""
    async with pool.connection() as connection:
        found = await connection.execute(
            "select dead_id::text, coalesce(octet_length(source_value), 0) from dead_letters "
            "where dead_id = any(%s::uuid[])",
            (list(dead_ids),),
        )
        return dict(await found.fetchall())


async def read_contents(pool: Pool, dead_ids: Sequence[str]) -> dict[str, LetterContent]:
    """The records behind letters, by dead id."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(_ContentRow)) as cursor:
        await cursor.execute(
            "select dead_id::text, source_key, source_value, source_value_compressed, source_headers, "
            "traceparent, tracestate from dead_letters where dead_id = any(%s::uuid[])",
            (list(dead_ids),),
        )
        rows = await cursor.fetchall()
    return {
        row.dead_id: LetterContent(
            dead_id=row.dead_id,
            source_key=row.source_key,
            source_value=unpack_body(row.source_value, compressed=row.source_value_compressed)
            if row.source_value is not None
            else None,
            source_headers=load_headers(row.source_headers),
            trace=make_headers(row.traceparent, row.tracestate),
        )
        for row in rows
    }


def dump_headers(headers: Headers) -> str | None:
    """Headers as they are kept: JSON, values in base64; None: there are none."""
    pairs = [(name, b64encode(value).decode() if value is not None else None) for name, value in headers]
    return json.dumps(pairs) if pairs else None


def load_headers(text: str | None) -> Headers:
    """Headers of what `dump_headers` made."""
    pairs = json.loads(text) if text is not None else ()
    return tuple((name, b64decode(value) if value is not None else None) for name, value in pairs)


async def note_redriven_events(pool: Pool, dead_ids: Sequence[str], *, topic: str) -> None:
    """Note, before they are sent, which events (letters of `topic`) come again, and the day of their first rows."""
    async with pool.connection() as connection:
        await connection.execute(
            "insert into redriven_events (application_id, event_id, day) "
            "select application_id, event_id, min(day) from dead_letters where dead_id = any(%s::uuid[]) "
            "and source_topic = %s and application_id is not null and event_id is not null group by 1, 2 "
            "on conflict (application_id, event_id) do update set day = least(redriven_events.day, excluded.day)",
            (list(dead_ids), topic),
        )


@asynccontextmanager
async def redrive_alone(pool: Pool) -> AsyncIterator[bool]:
    """Keep other commands from redriving meanwhile; yields whether none did so before. It ends with its session."""
    async with pool.connection() as connection:
        # as long as the work takes
        await connection.execute("select set_config('idle_in_transaction_session_timeout', '0', true)")
        cursor = await AsyncClientCursor(connection).execute(TRY, REDRIVING.values)
        row = await cursor.fetchone()
        yield row is not None and bool(row[0])


async def mark_redriven(pool: Pool, dead_ids: Sequence[str]) -> None:
    """Mark letters as sent again; their records are acknowledged."""
    async with pool.connection() as connection:
        await connection.execute(
            "insert into redrives (dead_id) select unnest(%s::uuid[]) "
            "on conflict (dead_id) do update set redriven_at = now()",
            (list(dead_ids),),
        )


def _select(wanted: LetterFilter) -> tuple[Composed, dict[str, object]]:
    conditions: list[Composable] = [SQL("true")]
    values: dict[str, object] = {}
    for column in ("application_id", "subscription_id", "event_id", "reason"):
        value = getattr(wanted, column)
        if value is not None:
            conditions.append(SQL("l.{0} = %({0})s").format(SQL(column)))
            values[column] = value
    if wanted.dead_ids is not None:
        conditions.append(SQL("l.dead_id = any(%(dead_ids)s::uuid[])"))
        values["dead_ids"] = list(wanted.dead_ids)
    if wanted.died_min_us is not None:
        conditions.append(SQL("l.died_at_us >= %(died_min_us)s"))
        values["died_min_us"] = wanted.died_min_us
    if wanted.died_max_us is not None:
        conditions.append(SQL("l.died_at_us <= %(died_max_us)s"))
        values["died_max_us"] = wanted.died_max_us
    if not wanted.with_redriven:
        conditions.append(SQL("r.dead_id is null"))
    if wanted.after is not None:
        beyond = SQL("<" if wanted.after.is_backward else ">")
        conditions.append(SQL("(l.died_at_us, l.dead_id) {} (%(after_us)s, %(after_id)s::uuid)").format(beyond))
        values |= {"after_us": wanted.after.created_at_us, "after_id": wanted.after.attempt_id}
    return SQL(" and ").join(conditions), values
