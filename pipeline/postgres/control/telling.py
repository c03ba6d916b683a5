"""Notifications of owners by operational events: noted with their cause, deleted when the log has the event."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, TypeVar

from psycopg.rows import class_row

from pipeline.postgres.pool import Pool

TOLD_MAX = 100  # in one transaction
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the audit log."""

    audit_id: int
    changed_at: datetime
    actor_kind: str
    actor_id: str | None
    application_id: str
    resource: str
    resource_id: str
    action: str
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailing:
    """A subscription whose endpoint fails, or failed until it recovered. `since_us`: since when."""

    subscription_id: str
    application_id: str
    since_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A delivery's dead letter."""

    dead_id: str
    application_id: str
    subscription_id: str
    delivery_id: str
    event_id: str | None
    reason: str
    died_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingAttempt:
    """The last of several failed attempts of a delivery that goes on."""

    attempt_id: str
    application_id: str
    subscription_id: str
    delivery_id: str
    event_id: str
    attempts: int
    error_class: str | None
    response_status: int | None
    failed_at_us: int
    next_attempt_at_us: int


async def has_to_tell(pool: Pool, *, before_us: int) -> bool:
    """Is there anything for those below? Asked once a second, and hardly ever so: one question, not five."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select exists (select from changes_to_tell) or exists (select from letters_to_tell) "
            "or exists (select from attempts_to_tell) "
            "or exists (select from endpoint_states where failing_since_us > 0 "
            "and warned_since_us <> failing_since_us and failing_since_us < %s) "
            "or exists (select from endpoint_states where warned_since_us > 0 and failing_since_us = 0)",
            (before_us,),
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])


def take_given_up(pool: Pool) -> AbstractAsyncContextManager[list[GivenUp]]:
    """Deliveries given up, oldest first; they count as notified when the block ends without an exception."""
    return _take(
        pool,
        GivenUp,
        "delete from letters_to_tell where dead_id in (select dead_id from letters_to_tell "
        "order by died_at_us limit %s for update skip locked) "
        "returning dead_id::text, application_id::text, subscription_id::text, delivery_id::text, "
        "event_id::text, reason, died_at_us",
        (TOLD_MAX,),
    )


def take_failing_attempts(pool: Pool) -> AbstractAsyncContextManager[list[FailingAttempt]]:
    """Oldest first; they are told when the block ends without an exception."""
    return _take(
        pool,
        FailingAttempt,
        "delete from attempts_to_tell where attempt_id in (select attempt_id from attempts_to_tell "
        "order by failed_at_us limit %s for update skip locked) "
        "returning attempt_id::text, application_id::text, subscription_id::text, delivery_id::text, "
        "event_id::text, attempts, error_class, response_status, failed_at_us, next_attempt_at_us",
        (TOLD_MAX,),
    )


def take_changes(pool: Pool) -> AbstractAsyncContextManager[list[Change]]:
    """Changes to notify of, oldest first; they count as notified when the block ends without an exception."""
    return _take(
        pool,
        Change,
        "with taken as (delete from changes_to_tell where audit_id in (select audit_id from changes_to_tell "
        "order by audit_id limit %s for update skip locked) returning audit_id) "
        "select audit_id, changed_at, actor_kind, actor_id, application_id::text, resource, resource_id, action, "
        "changes from audit_log join taken using (audit_id) order by audit_id",
        (TOLD_MAX,),
    )


def take_failing(pool: Pool, *, before_us: int) -> AbstractAsyncContextManager[list[Ailing]]:
    """Enabled subscriptions that have failed since before `before_us`, and whose owners were not warned of it.

    They are warned when the block ends without an exception.
    """
    return _take(
        pool,
        Ailing,
        "update endpoint_states e set warned_since_us = failing_since_us from subscriptions s "
        "where s.subscription_id = e.subscription_id and e.subscription_id in (select e.subscription_id "
        "from endpoint_states e join subscriptions s using (subscription_id) where e.failing_since_us > 0 "
        "and e.warned_since_us <> e.failing_since_us and e.failing_since_us < %s and s.is_enabled "
        "and s.deleted_at is null limit %s for update of e skip locked) "
        "returning e.subscription_id::text, s.application_id::text, e.warned_since_us as since_us",
        (before_us, TOLD_MAX),
    )


def take_recovered(pool: Pool) -> AbstractAsyncContextManager[list[Ailing]]:
    """Subscriptions whose owners were warned, and that do not fail any more.

    Their owners know when the block ends without an exception.
    """
    return _take(
        pool,
        Ailing,
        "with taken as (select subscription_id, warned_since_us from endpoint_states where warned_since_us > 0 "
        "and failing_since_us = 0 limit %s for update skip locked) "
        "update endpoint_states e set warned_since_us = 0 "
        "from taken t join subscriptions s using (subscription_id) "
        "where e.subscription_id = t.subscription_id "
        "returning e.subscription_id::text, s.application_id::text, t.warned_since_us as since_us",
        (TOLD_MAX,),
    )


@asynccontextmanager
async def _take(
    pool: Pool, kind: type[Row], query: LiteralString, arguments: tuple[int, ...]
) -> AsyncIterator[list[Row]]:
    """The rows that `query` returns; its changes are committed when the block ends without an exception."""
    async with (
        pool.connection() as connection,
        connection.transaction(),
        connection.cursor(row_factory=class_row(kind)) as cursor,
    ):
        await cursor.execute(query, arguments)
        yield await cursor.fetchall()
