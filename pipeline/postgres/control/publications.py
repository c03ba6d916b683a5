"""The parts of an application to publish, and the lease that lets one gateway publish them at a time.

Versions must reach the log in order: were an older state written after a newer one, compaction would keep the older
one. Who publishes has a lease in the application's row for as long as it waits for Kafka, and no transaction: a broker
that does not answer holds up neither changes nor reads.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.rows import class_row, dict_row

from pipeline.core.routing.agreement import Verdict, judge
from pipeline.postgres.control.subscriptions import COLUMNS, Subscription, read_subscription
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows

PAGE_ROWS = 500
FROM_THE_START = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """The state of an application in the log. `change_id`: empty in the form before parts."""

    version: int
    change_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A lease to publish one version. `since`: parts that changed after this version must be published.

    `endpoints_since`: the same for endpoints; `deleted_since`: for subscriptions that are deleted. `is_healing`: the
    log disagreed with the database, which is the truth: everything is published, under a version above all of the log.
    """

    application_id: str
    organization_id: str
    version: int
    change_id: str
    deleted: bool
    since: int
    endpoints_since: int
    deleted_since: int
    is_healing: bool
    control_plane_id: str
    epoch: int
    lease: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedSubscription:
    """A subscription with the versions that made it and changed it."""

    subscription: Subscription
    created_version: int
    changed_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedName:
    """An event type or a secret. `exists`: active, or not revoked. Schemas are an event type's."""

    name: str
    exists: bool
    created_version: int
    changed_version: int
    payload_schema: str | None = None
    schema_mode: str = "off"
    schema_version: int = 0


class Busy:
    """Another gateway publishes this application at this moment."""


BUSY = Busy()


async def claim_publication(
    pool: Pool, application_id: str, lease: str, *, lease_s: float, known: LogState | None, is_forced: bool = False
) -> Publication | Busy | None:
    """A lease to publish the application's newest version; None: it is published.

    `lease`: whose it is, who publishes each application once at a time.
    `known`: what the log says. When that cannot have come from this database, or with `is_forced`, all is published.
    """
    async with pool.connection() as connection, connection.transaction():
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(
            "select organization_id::text, routes_version, published_version, parts_version, change_id::text, "
            "published_change_id::text, deleted_at is not null as deleted, "
            # a lease of its own that is left: it could not note the end, or that it has begun
            "coalesce(publishing_by <> %s and publishing_until > clock_timestamp(), false) as is_busy, "
            "control_plane_id::text, epoch from applications, control_plane where application_id = %s "
            "for no key update of applications",
            (lease, application_id),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        is_healing = is_forced or does_disagree(
            known,
            routes=LogState(version=row["routes_version"], change_id=row["change_id"]),
            published=LogState(version=row["published_version"], change_id=row["published_change_id"] or ""),
        )
        if not is_healing and row["published_version"] >= row["routes_version"]:
            return None
        if row["is_busy"]:
            return BUSY
        version, change_id, epoch = row["routes_version"], row["change_id"], row["epoch"]
        is_whole = is_healing or not row["parts_version"] or row["parts_version"] != row["published_version"]
        if is_healing:
            known_version = known.version if known is not None else 0
            await cursor.execute(
                "update applications set routes_version = greatest(routes_version, %s) + 1, "
                # should writing fail, everything is still to be published
                "change_id = gen_random_uuid(), published_version = 0, parts_version = 0, published_change_id = null "
                "where application_id = %s returning routes_version, change_id::text",
                (known_version, application_id),
            )
            raised = await cursor.fetchone()
            assert raised is not None  # noqa: S101 - its row is locked
            version, change_id = raised["routes_version"], raised["change_id"]
            await cursor.execute("update control_plane set epoch = epoch + 1 returning epoch")
            bumped = await cursor.fetchone()
            assert bumped is not None  # noqa: S101 - it has one row
            epoch = bumped["epoch"]
        await connection.execute(
            "update applications set publishing_by = %s, publishing_until = clock_timestamp() + %s * interval '1 s' "
            "where application_id = %s",
            (lease, lease_s, application_id),
        )
        endpoints_since = FROM_THE_START if is_healing else row["published_version"]
        return Publication(
            application_id=application_id,
            organization_id=row["organization_id"],
            version=version,
            change_id=change_id,
            deleted=row["deleted"],
            # of a deleted application everything goes
            since=FROM_THE_START if is_whole or row["deleted"] else row["parts_version"],
            endpoints_since=endpoints_since,
            # without parts in the log there are none to take back
            deleted_since=min(endpoints_since, row["parts_version"]) if row["parts_version"] else endpoints_since,
            is_healing=is_healing,
            control_plane_id=row["control_plane_id"],
            epoch=epoch,
            lease=lease,
        )


def does_disagree(known: LogState | None, *, routes: LogState, published: LogState) -> bool:
    """Can what the log says not have come from this database? One that is behind may not have been read so far yet."""
    if known is None:
        return False
    verdict = judge(
        (known.version, known.change_id),
        newest=(routes.version, routes.change_id),
        published=(published.version, published.change_id),
    )
    return verdict is Verdict.FOREIGN


async def extend_publication(pool: Pool, publication: Publication, *, lease_s: float) -> bool:
    """Extend the lease. False: it ran out, and another gateway has it."""
    return await _update(
        pool, "publishing_until = clock_timestamp() + %(lease_s)s * interval '1 s'", publication, lease_s=lease_s
    )


async def finish_publication(pool: Pool, publication: Publication) -> bool:
    """Note that it is in the log. False: the lease had run out; the records may be older than those of others."""
    return await _update(
        pool,
        "published_version = %(version)s, parts_version = %(version)s, published_change_id = %(change_id)s, "
        "publishing_by = null, publishing_until = null",
        publication,
    )


async def abandon_publication(pool: Pool, publication: Publication) -> None:
    """Give the lease back: it could not be written, and the next publication tries again."""
    await _update(pool, "publishing_by = null, publishing_until = null", publication)


async def publish_again(pool: Pool, application_id: str) -> None:
    """Mark an application, so that all of its routes are published once more."""
    async with pool.connection() as connection:
        await connection.execute(
            "update applications set routes_version = routes_version + 1, change_id = gen_random_uuid(), "
            "parts_version = 0 where application_id = %s",
            (application_id,),
        )


async def _update(pool: Pool, what: LiteralString, publication: Publication, **values: Any) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            f"update applications set {what} where application_id = %(application_id)s and publishing_by = %(lease)s",  # noqa: S608 - our own words
            {
                "application_id": publication.application_id,
                "lease": publication.lease,
                "version": publication.version,
                "change_id": publication.change_id,
            }
            | values,
        )
        return cursor.rowcount == 1


async def list_unpublished(pool: Pool) -> list[str]:
    """Applications of which the log lags behind, in any order: those that fail hold up no others."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select application_id::text from applications where published_version < routes_version "
            "order by random() limit 1000"
        )
        return [str(row[0]) for row in await cursor.fetchall()]


async def read_subscriptions(pool: Pool, publication: Publication) -> AsyncIterator[list[ChangedSubscription]]:
    """Changed subscriptions, in pages; of an application published as a whole, all that exist."""
    last = "00000000-0000-0000-0000-000000000000"
    while True:
        async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                f"select {COLUMNS}, changed_version, created_version "  # noqa: S608 - our own column names
                "from subscriptions where application_id = %(application_id)s and changed_version > %(since)s "
                "and (deleted_at is null or changed_version > %(deleted_since)s) and subscription_id > %(last)s "
                "order by subscription_id limit %(rows)s",
                {
                    "application_id": publication.application_id,
                    "since": publication.since,
                    "deleted_since": publication.deleted_since,
                    "last": last,
                    "rows": PAGE_ROWS,
                },
            )
            rows = await cursor.fetchall()
        if rows:
            yield [
                ChangedSubscription(
                    subscription=read_subscription(row),
                    created_version=row["created_version"],
                    changed_version=row["changed_version"],
                )
                for row in rows
            ]
            last = rows[-1]["subscription_id"]
        if len(rows) < PAGE_ROWS:
            return


async def read_event_types(pool: Pool, publication: Publication) -> list[ChangedName]:
    """Changed event types."""
    return await _read_names(
        pool,
        publication,
        "select name, is_active as exists, created_version, changed_version, s.schema as payload_schema, "
        "schema_mode, schema_version from event_types "
        "left join event_type_schemas s using (application_id, name, schema_version) "
        "where application_id = %s and changed_version > %s",
    )


async def read_secrets(pool: Pool, publication: Publication) -> list[ChangedName]:
    """Changed secrets; their names are the tokens' SHA-256 in hex."""
    return await _read_names(
        pool,
        publication,
        "select encode(token_hash, 'hex') as name, deleted_at is null as exists, "
        "changed_version as created_version, changed_version "
        "from application_secrets where application_id = %s and changed_version > %s",
    )


async def _read_names(pool: Pool, publication: Publication, query: LiteralString) -> list[ChangedName]:
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(ChangedName)) as cursor:
        await cursor.execute(query, (publication.application_id, publication.since))
        return await fetch_rows(cursor)
