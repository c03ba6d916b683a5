"""Subscriptions: which events go where. Every change is published with the application's next version."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection, Rollback
from psycopg.rows import DictRow, TupleRow, dict_row

from pipeline.core.events.moments import to_us
from pipeline.core.routing.delivery_settings import KNOWN_NAMES, DeliverySettings, read_settings
from pipeline.core.routing.type_patterns import is_pattern
from pipeline.postgres.archive.paging import Cursor
from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.control.event_types import list_missing
from pipeline.postgres.control.retry_schedules import has_schedule
from pipeline.postgres.control.subscription_versions import keep_versions
from pipeline.postgres.pool import Pool

PAGE_ROWS = 100


class UnknownEventTypesError(Exception):
    """A subscription names event types that the application does not have; they are in `names`."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class UnknownRetryScheduleError(Exception):
    """A subscription refers to a retry schedule that the application does not have."""


class ChangedMeanwhileError(Exception):
    """The subscription was changed since its caller read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionContent:
    """The fields of a subscription that its owner sets."""

    is_enabled: bool
    event_types: tuple[str, ...]
    description: str | None
    metadata: dict[str, str]
    labels: dict[str, str]
    method: str
    url: str
    headers: dict[str, str]
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    payload_filter: str | None = None  # JSON
    client_key: "SealedSecret | None" = None  # of the TLS client certificate
    retry_schedule_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A signing secret. `valid_until`: None for the current one."""

    key_id: str
    sealed: bytes
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One subscription. `secrets`: the current one, and the one before it as long as it signs as well.

    `schedule_delays_s`: of the retry schedule that it refers to, as it was when this was read.
    """

    subscription_id: str
    application_id: str
    content: SubscriptionContent
    secrets: tuple[SealedSecret, ...]
    created_at: datetime
    updated_at: datetime
    cancelled_before: datetime | None = None
    cancelled_before_version: int = 0
    disabled_reason: str | None = None
    held_until: datetime | None = None
    deleted_at: datetime | None = None
    schedule_delays_s: tuple[float, ...] | None = None


COLUMNS: LiteralString = (
    "subscription_id::text, application_id::text, is_enabled, event_types, description, metadata, labels, "
    "payload_filter, "
    "target_method, target_url, target_headers, delivery, key_id, sealed, "
    "previous_key_id, previous_sealed, previous_valid_until, tls_key_id, tls_sealed, created_at, updated_at, "
    "cancelled_before, cancelled_before_version, "
    "disabled_reason, held_until, deleted_at, retry_schedule_id::text, "
    "(select retry_delays_s from retry_schedules s where s.retry_schedule_id = subscriptions.retry_schedule_id) "
    "as schedule_delays_s"
)

ONE_SUBSCRIPTION = (
    f"select {COLUMNS} from subscriptions where subscription_id = %s and deleted_at is null"  # noqa: S608 - our own column names
).encode()


def read_subscription(row: DictRow) -> Subscription:
    """A row of `COLUMNS`."""
    return Subscription(
        subscription_id=row["subscription_id"],
        application_id=row["application_id"],
        content=SubscriptionContent(
            is_enabled=row["is_enabled"],
            event_types=tuple(row["event_types"]),
            description=row["description"],
            metadata=json.loads(row["metadata"]),
            labels=json.loads(row["labels"]),
            method=row["target_method"],
            url=row["target_url"],
            headers=json.loads(row["target_headers"]),
            payload_filter=row["payload_filter"],
            delivery=read_settings(row["delivery"]),
            client_key=SealedSecret(key_id=row["tls_key_id"], sealed=row["tls_sealed"])
            if row["tls_sealed"] is not None
            else None,
            retry_schedule_id=row["retry_schedule_id"],
        ),
        secrets=_read_secrets(row),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        cancelled_before=row["cancelled_before"],
        cancelled_before_version=row["cancelled_before_version"],
        disabled_reason=row["disabled_reason"],
        held_until=row["held_until"],
        deleted_at=row["deleted_at"],
        schedule_delays_s=tuple(row["schedule_delays_s"]) if row["schedule_delays_s"] is not None else None,
    )


def _read_secrets(row: DictRow) -> tuple[SealedSecret, ...]:
    current = SealedSecret(key_id=row["key_id"], sealed=row["sealed"])
    if row["previous_sealed"] is None:
        return (current,)
    valid_until = row["previous_valid_until"]
    return current, SealedSecret(key_id=row["previous_key_id"], sealed=row["previous_sealed"], valid_until=valid_until)


async def create_subscription(pool: Pool, subscription: Subscription, *, subscriptions_max: int) -> bool | None:
    """Create a subscription: True; None: there is no such application; False: it has `subscriptions_max` already.

    Raises `UnknownEventTypesError`, `UnknownRetryScheduleError`.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, subscription.application_id)
        if version is None:
            return None
        await _check_event_types(connection, subscription.application_id, subscription.content)
        await _check_retry_schedule(connection, subscription.application_id, subscription.content)
        cursor = await connection.execute(
            "select count(*) from subscriptions where application_id = %s and deleted_at is null",
            (subscription.application_id,),
        )
        row = await cursor.fetchone()
        if row is not None and row[0] >= subscriptions_max:
            raise Rollback  # leaves the block below: nothing has changed, so that there is nothing to be published
        await connection.execute(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, description, "
            "metadata, labels, payload_filter, target_method, target_url, target_headers, delivery, tls_key_id, "
            "tls_sealed, key_id, sealed, created_at, updated_at, changed_version, created_version, retry_schedule_id) "
            "values (%(subscription_id)s, "
            "%(application_id)s, "
            "%(is_enabled)s, %(event_types)s, %(description)s, %(metadata)s, %(labels)s, %(payload_filter)s, "
            "%(method)s, %(url)s, %(headers)s, %(delivery)s, %(tls_key_id)s, %(tls_sealed)s, %(key_id)s, "
            "%(sealed)s, %(created_at)s, "
            "%(created_at)s, %(version)s, %(version)s, %(retry_schedule_id)s)",
            _values(subscription.content)
            | {
                "subscription_id": subscription.subscription_id,
                "application_id": subscription.application_id,
                "key_id": subscription.secrets[0].key_id,
                "sealed": subscription.secrets[0].sealed,
                "created_at": subscription.created_at,
                "version": version,
            },
        )
        await keep_versions(connection, subscription.application_id, version, subscription.subscription_id)
        return True
    return False


async def replace_subscription(
    pool: Pool,
    application_id: str,
    subscription_id: str,
    content: SubscriptionContent,
    *,
    updated_at: datetime | None = None,
) -> Subscription | None:
    """Replace the owner's fields. Disabling cancels waiting deliveries. None when there is no such subscription.

    `updated_at`: only the one that was last changed then.

    Raises `UnknownEventTypesError`, `UnknownRetryScheduleError`, `ChangedMeanwhileError`.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return None
        await _check_event_types(connection, application_id, content, named_by=subscription_id)
        await _check_retry_schedule(connection, application_id, content)
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                "update subscriptions set is_enabled = %(is_enabled)s, event_types = %(event_types)s, "  # noqa: S608 - our own column names
                "description = %(description)s, metadata = %(metadata)s, labels = %(labels)s, "
                "payload_filter = %(payload_filter)s, retry_schedule_id = %(retry_schedule_id)s, "
                "target_method = %(method)s, target_url = %(url)s, target_headers = %(headers)s, "
                # what a newer release wrote stays; and what says the same, or the audit log has a change
                "delivery = case when delivery::jsonb - %(known_settings)s::text[] || %(delivery)s::jsonb "
                "= delivery::jsonb then delivery "
                "else (delivery::jsonb - %(known_settings)s::text[] || %(delivery)s::jsonb)::text end, "
                "updated_at = now(), "
                # a key is not shown, so that who changes something else cannot send it again
                "tls_key_id = case when %(has_certificate)s then coalesce(%(tls_key_id)s, tls_key_id) end, "
                "tls_sealed = case when %(has_certificate)s then coalesce(%(tls_sealed)s, tls_sealed) end, "
                "disabled_reason = case when %(is_enabled)s then null else disabled_reason end, "
                # enabled again too late: held deliveries have been cancelled, or will be
                "cancelled_before = case when is_enabled and not %(is_enabled)s then now() "
                "when %(is_enabled)s and held_until < now() then held_until else cancelled_before end, "
                "cancelled_before_version = case when is_enabled and not %(is_enabled)s "
                "or %(is_enabled)s and held_until < now() then %(version)s else cancelled_before_version end, "
                "held_until = case when %(is_enabled)s then null else held_until end, "
                "changed_version = %(version)s where subscription_id = %(subscription_id)s "
                "and application_id = %(application_id)s and deleted_at is null "
                f"and (%(updated_at)s::timestamptz is null or updated_at = %(updated_at)s) returning {COLUMNS}",
                _values(content)
                | {
                    "subscription_id": subscription_id,
                    "application_id": application_id,
                    "version": version,
                    "updated_at": updated_at,
                    "known_settings": list(KNOWN_NAMES),
                },
            )
            row = await cursor.fetchone()
            if row is None and updated_at is not None:
                await cursor.execute(
                    "select from subscriptions where subscription_id = %s and application_id = %s "
                    "and deleted_at is null",
                    (subscription_id, application_id),
                )
                if await cursor.fetchone() is not None:
                    raise ChangedMeanwhileError  # leaves the transaction: nothing has changed
        if row is not None:
            await keep_versions(connection, application_id, version, subscription_id)
    return read_subscription(row) if row is not None else None


async def delete_subscription(pool: Pool, application_id: str, subscription_id: str) -> bool | None:
    """Delete a subscription. False: it was deleted before; None: there never was such a one."""
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return None
        cursor = await connection.execute(
            "update subscriptions set deleted_at = now(), cancelled_before = now(), "
            "cancelled_before_version = %(version)s, changed_version = %(version)s "
            "where subscription_id = %(subscription_id)s and application_id = %(application_id)s "
            "and deleted_at is null",
            {"version": version, "subscription_id": subscription_id, "application_id": application_id},
        )
        if cursor.rowcount == 1:
            await keep_versions(connection, application_id, version, subscription_id)
            return True
        cursor = await connection.execute(
            "select from subscriptions where subscription_id = %s and application_id = %s",
            (subscription_id, application_id),
        )
        return None if await cursor.fetchone() is None else False


async def rotate_secret(
    pool: Pool, application_id: str, subscription_id: str, secret: SealedSecret, *, previous_valid_until: datetime
) -> Subscription | None:
    """Sign with `secret` from now on, and with the present one as well until `previous_valid_until`.

    None when there is no such subscription.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return None
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                "update subscriptions set previous_key_id = key_id, previous_sealed = sealed, "  # noqa: S608 - our own column names
                "previous_valid_until = %(valid_until)s, key_id = %(key_id)s, sealed = %(sealed)s, updated_at = now(), "
                "changed_version = %(version)s where subscription_id = %(subscription_id)s "
                f"and application_id = %(application_id)s and deleted_at is null returning {COLUMNS}",
                {
                    "valid_until": previous_valid_until,
                    "key_id": secret.key_id,
                    "sealed": secret.sealed,
                    "version": version,
                    "subscription_id": subscription_id,
                    "application_id": application_id,
                },
            )
            row = await cursor.fetchone()
    return read_subscription(row) if row is not None else None


async def disable_subscription(
    pool: Pool, application_id: str, subscription_id: str, *, reason: str, seen_version: int, hold_s: float
) -> bool:
    """Disable a subscription on our own account, unless its owner changed it after `seen_version`.

    What waits is kept for `hold_s`: its owner, who did not ask for this, may enable it again. True: it is disabled so,
    by this call or an earlier one.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        cursor = await connection.execute(
            "update subscriptions set is_enabled = false, disabled_reason = %(reason)s, "
            "held_until = now() + make_interval(secs => %(hold_s)s), "
            "updated_at = now(), changed_version = %(version)s where subscription_id = %(subscription_id)s "
            "and application_id = %(application_id)s and is_enabled and deleted_at is null "
            "and changed_version <= %(seen_version)s",
            {
                "reason": reason,
                "hold_s": hold_s,
                "version": version,
                "subscription_id": subscription_id,
                "application_id": application_id,
                "seen_version": seen_version,
            },
        )
        if cursor.rowcount == 1 and version is not None:
            await keep_versions(connection, application_id, version, subscription_id)
            return True
        cursor = await connection.execute(
            "select from subscriptions where subscription_id = %s and application_id = %s and not is_enabled "
            "and disabled_reason is not null and deleted_at is null",
            (subscription_id, application_id),
        )
        return cursor.rowcount == 1


async def list_subscriptions(
    pool: Pool, application_id: str, *, after: Cursor | None = None, limit: int | None = None
) -> list[Subscription]:
    """Subscriptions that are not deleted, oldest first. `after`: a place; those before it are the nearest to it."""
    is_backward = after is not None and after.is_backward
    way, beyond = ("desc", "<") if is_backward else ("asc", ">")
    # a place that is not there is not in the statement: `… is null or …` in a kept plan would read every subscription
    bound = (
        f"and (created_at, subscription_id) {beyond} "
        "('epoch'::timestamptz + %(created_at_us)s * interval '1 microsecond', %(subscription_id)s::uuid) "
        if after is not None
        else ""
    )
    query = (
        f"select {COLUMNS} from subscriptions where application_id = %(application_id)s and deleted_at is null "  # noqa: S608 - our own column names
        f"{bound}order by created_at {way}, subscription_id {way} limit %(limit)s"
    )
    values = {
        "application_id": application_id,
        "created_at_us": after.created_at_us if after is not None else None,
        "subscription_id": after.attempt_id if after is not None else None,
        "limit": limit,
    }
    found = [read_subscription(row) for row in await pool.fetch(query.encode(), values, dict_row)]
    return found[::-1] if is_backward else found


async def list_in_pages(
    pool: Pool, application_id: str, *, after: Cursor | None = None, limit: int | None = None
) -> AsyncIterator[list[Subscription]]:
    """Read what `list_subscriptions` does, at most `PAGE_ROWS` at a time: ten thousand at once take a second."""
    # a page that leads back is read at once, since its rows come in the other order
    is_whole = after is not None and after.is_backward
    while limit is None or limit > 0:
        wanted = limit if is_whole else min(PAGE_ROWS, limit or PAGE_ROWS)
        found = await list_subscriptions(pool, application_id, after=after, limit=wanted)
        yield found
        if wanted is None or len(found) < wanted:
            return
        limit = limit - len(found) if limit is not None else None
        after = Cursor(created_at_us=to_us(found[-1].created_at), attempt_id=found[-1].subscription_id)


async def find_subscription(pool: Pool, subscription_id: str) -> Subscription | None:
    """One that is not deleted, of whatever application: the caller checks whose it is."""
    rows = await pool.fetch(ONE_SUBSCRIPTION, (subscription_id,), dict_row)
    return read_subscription(rows[0]) if rows else None


async def _check_event_types(
    connection: AsyncConnection[TupleRow],
    application_id: str,
    content: SubscriptionContent,
    *,
    named_by: str | None = None,
) -> None:
    """Check event types. Raises `UnknownEventTypesError`. `named_by`: a subscription that may keep names it has."""
    # a pattern selects what there is, now or later
    names = [name for name in content.event_types if not is_pattern(name)]
    missing = await list_missing(connection, application_id, names)
    if missing and named_by is not None:
        # a type that was deactivated since must not keep its owner from disabling the subscription
        cursor = await connection.execute(
            "select unnest(event_types) from subscriptions where subscription_id = %s and application_id = %s",
            (named_by, application_id),
        )
        named = {row[0] for row in await cursor.fetchall()}
        missing = [name for name in missing if name not in named]
    if missing:
        raise UnknownEventTypesError(missing)


async def _check_retry_schedule(
    connection: AsyncConnection[TupleRow], application_id: str, content: SubscriptionContent
) -> None:
    """Check the schedule named. Raises `UnknownRetryScheduleError`."""
    wanted = content.retry_schedule_id
    if wanted is not None and not await has_schedule(connection, application_id, wanted):
        raise UnknownRetryScheduleError


def _values(content: SubscriptionContent) -> dict[str, Any]:
    return {
        "is_enabled": content.is_enabled,
        "event_types": list(content.event_types),
        "description": content.description,
        "metadata": json.dumps(content.metadata),
        "labels": json.dumps(content.labels),
        "payload_filter": content.payload_filter,
        "retry_schedule_id": content.retry_schedule_id,
        "method": content.method,
        "url": content.url,
        "headers": json.dumps(content.headers),
        "delivery": json.dumps(asdict(content.delivery)),
        "has_certificate": content.delivery.tls_client_cert_pem is not None,
        "tls_key_id": content.client_key.key_id if content.client_key is not None else None,
        "tls_sealed": content.client_key.sealed if content.client_key is not None else None,
    }
