"""What is to be published of an application: read and marked under a lock, so that versions reach the log in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from pipeline.postgres.pool import Pool
from pipeline.postgres.subscriptions import COLUMNS, Subscription, read_subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One application as it is. `changed`: subscriptions that have changed since the version published last."""

    application_id: str
    organization_id: str
    version: int
    deleted: bool
    event_types: list[str]
    subscriptions: list[Subscription]
    changed: list[Subscription]
    secret_hashes: list[bytes]


@asynccontextmanager
async def lock_snapshot(pool: Pool, application_id: str) -> AsyncIterator[Snapshot | None]:
    """The snapshot to publish, None when all is published. Counts as published when the block ends without an error.

    Until then nobody else publishes, or changes, this application: were an older snapshot written after a newer one,
    compaction would keep the older one.
    """
    async with pool.connection() as connection, connection.transaction():
        snapshot = await _read(connection, application_id)
        yield snapshot
        if snapshot is not None:
            await connection.execute(
                "update applications set published_version = %s where application_id = %s",
                (snapshot.version, application_id),
            )


async def list_unpublished(pool: Pool) -> list[str]:
    """Applications of which the log lags behind."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select application_id::text from applications where published_version < routes_version "
            "order by application_id limit 1000"
        )
        return [str(row[0]) for row in await cursor.fetchall()]


async def _read(connection: AsyncConnection[TupleRow], application_id: str) -> Snapshot | None:
    cursor = await connection.execute(
        "select organization_id::text, routes_version, published_version, deleted_at is not null from applications "
        "where application_id = %s for no key update",
        (application_id,),
    )
    row = await cursor.fetchone()
    if row is None or row[1] == row[2]:
        return None
    organization_id, version, published_version, deleted = row
    async with connection.cursor(row_factory=dict_row) as rows:
        await rows.execute(
            f"select {COLUMNS}, changed_version from subscriptions "  # noqa: S608 - our own column names
            "where application_id = %s and (deleted_at is null or changed_version > %s) "
            "order by created_at, subscription_id",
            (application_id, published_version),
        )
        found = [(read_subscription(row), row["changed_version"]) for row in await rows.fetchall()]
    return Snapshot(
        application_id=application_id,
        organization_id=organization_id,
        version=version,
        deleted=deleted,
        event_types=await _list(
            connection, "select name from event_types where application_id = %s and is_active", application_id
        ),
        subscriptions=[subscription for subscription, _ in found if subscription.deleted_at is None],
        changed=[subscription for subscription, changed_version in found if changed_version > published_version],
        secret_hashes=await _list(
            connection,
            "select token_hash from application_secrets where application_id = %s and deleted_at is null",
            application_id,
        ),
    )


async def _list(connection: AsyncConnection[TupleRow], query: LiteralString, application_id: str) -> list[Any]:
    cursor = await connection.execute(query, (application_id,))
    return [row[0] for row in await cursor.fetchall()]
