"""The contents of archived events by their ids, for telling whether one that comes again is the same."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.pool import Pool

# Payloads up to this size come with the others of a question, larger ones one by one: bounds memory.
INLINE_MAX_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedContent:
    """The fields of an event that its sender set."""

    application_id: str
    event_id: str
    event_type: str
    payload: bytes
    payload_content_type: str
    labels: dict[str, str]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    application_id: str
    event_id: str
    event_type: str
    payload_content_type: str
    labels: str
    metadata: str
    payload: bytes | None
    payload_compressed: bool


async def read_contents(pool: Pool, pairs: Sequence[tuple[str, str]]) -> AsyncIterator[ArchivedContent]:
    """The events of the (application_id, event_id) pairs that the archive has; of one that is there twice the first."""
    async with pool.connection() as connection:
        async with connection.cursor(row_factory=class_row(_Row)) as cursor:
            await cursor.execute(
                "select w.application_id::text, w.event_id::text, e.event_type, e.payload_content_type, e.labels, "
                "e.metadata, case when octet_length(e.payload) <= %s then e.payload end as payload, "
                "e.payload_compressed from unnest(%s::uuid[], %s::uuid[]) as w (application_id, event_id) "
                # a sub-query a pair: never a plan that reads whole partitions
                "cross join lateral (select * from events e where e.application_id = w.application_id "
                "and e.event_id = w.event_id order by e.day limit 1) e",
                (
                    INLINE_MAX_BYTES,
                    [application_id for application_id, _ in pairs],
                    [event_id for _, event_id in pairs],
                ),
            )
            rows = await cursor.fetchall()
        for row in rows:
            payload = row.payload
            if payload is None:
                found = await connection.execute(
                    "select payload from events where application_id = %s and event_id = %s order by day limit 1",
                    (row.application_id, row.event_id),
                )
                one = await found.fetchone()
                payload = one[0] if one is not None else b""
            yield ArchivedContent(
                application_id=row.application_id,
                event_id=row.event_id,
                event_type=row.event_type,
                payload=unpack_body(payload, compressed=row.payload_compressed),
                payload_content_type=row.payload_content_type,
                labels=json.loads(row.labels),
                metadata=json.loads(row.metadata),
            )
