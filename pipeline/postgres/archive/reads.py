"""Reading events from the archive. Every query names the application; ids are unique only within one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import msgspec
import psycopg
from psycopg.rows import tuple_row

from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.pool import Pool


class ArchivedEvent(msgspec.Struct, frozen=True):
    """An event without its payload, a row of `COLUMNS`. `labels`, `metadata`: JSON. `ip`: None for one of Kafka."""

    event_id: str
    event_type: str
    payload_content_type: str
    labels: str
    metadata: str
    occurred_at_us: int
    received_at_us: int
    ip: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedPayload:
    """An event with its payload, byte for byte."""

    event: ArchivedEvent
    payload: bytes


# in the order of `ArchivedEvent`
COLUMNS: LiteralString = (
    "event_id::text, event_type, payload_content_type, labels, metadata, occurred_at_us, received_at_us, ip"
)

ONE_EVENT = (
    f"select {COLUMNS}, payload, payload_compressed from events "  # noqa: S608 - our own column names
    "where application_id = %s and event_id = %s order by day limit 1"
).encode()


async def find_event(pool: Pool, application_id: str, event_id: str) -> ArchivedPayload | None:
    """One event, or None."""
    found = await pool.fetch(ONE_EVENT, (application_id, event_id), tuple_row)
    if not found:
        return None
    *event, payload, is_compressed = found[0]
    return ArchivedPayload(event=ArchivedEvent(*event), payload=unpack_body(payload, compressed=is_compressed))


async def known_event_ids(pool: Pool, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of the (application_id, event_id) pairs the archive has: one query for all of them.

    `pool` may be a bare one: a connection that is found broken is replaced, once.
    """
    try:
        return await _find_known(pool, pairs)
    except psycopg.OperationalError:
        return await _find_known(pool, pairs)


async def _find_known(pool: Pool, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select w.application_id::text, w.event_id::text "
            "from unnest(%s::uuid[], %s::uuid[]) as w (application_id, event_id) "
            # a sub-query a pair: never a plan that reads whole partitions
            "where exists (select from events e where e.application_id = w.application_id "
            "and e.event_id = w.event_id offset 0)",
            ([application_id for application_id, _ in pairs], [event_id for _, event_id in pairs]),
        )
        return {(row[0], row[1]) for row in await cursor.fetchall()}
