"""Attempts that a person asked for: their source, and the note that they were asked for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.core.retries.replay import Made
from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.tables import day_of
from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedEvent:
    """An archived event with the fields that its deliveries need."""

    event_id: str
    event_type: str
    payload: bytes
    payload_content_type: str
    labels: dict[str, str]
    received_at_us: int
    appended_at_us: int
    event_partition: int
    event_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDelivery:
    """A delivery of the event that is in the archive."""

    delivery_id: str
    subscription_id: str
    made: Made


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One attempt that was asked for."""

    delivery_id: str
    subscription_id: str
    attempt_number: int
    attempt_id: str
    asked_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _EventRow:
    event_id: str
    event_type: str
    payload: bytes
    payload_compressed: bool
    payload_content_type: str
    labels: str
    received_at_us: int
    appended_at_us: int
    event_partition: int
    event_offset: int


async def find_replayed_event(pool: Pool, application_id: str, event_id: str) -> ReplayedEvent | None:
    """One event, or None."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(_EventRow)) as cursor:
        await cursor.execute(
            "select event_id::text, event_type, payload, payload_compressed, payload_content_type, labels, "
            "received_at_us, appended_at_us, event_partition, event_offset from events "
            "where application_id = %s and event_id = %s order by day limit 1",
            (application_id, event_id),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return ReplayedEvent(
        event_id=row.event_id,
        event_type=row.event_type,
        payload=unpack_body(row.payload, compressed=row.payload_compressed),
        payload_content_type=row.payload_content_type,
        labels=json.loads(row.labels),
        received_at_us=row.received_at_us,
        appended_at_us=row.appended_at_us,
        event_partition=row.event_partition,
        event_offset=row.event_offset,
    )


async def list_deliveries(pool: Pool, application_id: str, event_id: str) -> list[KnownDelivery]:
    """The event's deliveries, with the attempts made and asked for."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select d.delivery_id::text, d.subscription_id::text, coalesce(a.attempt_number, 0), "
            "coalesce(a.next_due_at_us is not null, false), coalesce(r.attempt_number, 0) from deliveries d "
            "left join lateral (select attempt_number, next_due_at_us from attempts "
            "where day = d.day and application_id = d.application_id and event_id = d.event_id "
            "and delivery_id = d.delivery_id order by attempt_number desc limit 1) a on true "
            "left join lateral (select max(attempt_number) as attempt_number from replays "
            "where application_id = d.application_id and event_id = d.event_id "
            "and delivery_id = d.delivery_id) r on true "
            "where d.application_id = %s and d.event_id = %s order by d.delivery_id",
            (application_id, event_id),
        )
        return [
            KnownDelivery(
                delivery_id=row[0],
                subscription_id=row[1],
                made=Made(last_number=row[2], is_retry_waiting=row[3], last_asked_number=row[4]),
            )
            for row in await cursor.fetchall()
        ]


async def note_asked(pool: Pool, application_id: str, event: ReplayedEvent, asked: Sequence[Asked]) -> list[Asked]:
    """Note attempts before they are written to the log. Those that a concurrent request notes are left out."""
    async with pool.connection() as connection, connection.transaction():
        noted = []
        for one in asked:
            cursor = await connection.execute(
                "insert into replays (day, application_id, event_id, delivery_id, subscription_id, event_type, "
                "appended_at_us, attempt_number, attempt_id, asked_at_us) "
                "values (%(day)s, %(application_id)s, %(event_id)s, "
                " %(delivery_id)s, %(subscription_id)s, %(event_type)s, %(appended_at_us)s, "
                "%(attempt_number)s, %(attempt_id)s, %(asked_at_us)s) "
                "on conflict (application_id, event_id, delivery_id, attempt_number) do nothing",
                {
                    "day": day_of(event.appended_at_us),
                    "appended_at_us": event.appended_at_us,
                    "application_id": application_id,
                    "event_id": event.event_id,
                    "delivery_id": one.delivery_id,
                    "subscription_id": one.subscription_id,
                    "event_type": event.event_type,
                    "attempt_number": one.attempt_number,
                    "attempt_id": one.attempt_id,
                    "asked_at_us": one.asked_at_us,
                },
            )
            if cursor.rowcount == 1:
                noted.append(one)
    return noted


async def withdraw_asked(pool: Pool, application_id: str, attempt_ids: Sequence[str]) -> None:
    """Withdraw replays that the log did not take, as if they had not been asked for."""
    async with pool.connection() as connection:
        await connection.execute(
            "delete from replays where application_id = %s and attempt_id = any(%s::uuid[])",
            (application_id, list(attempt_ids)),
        )
