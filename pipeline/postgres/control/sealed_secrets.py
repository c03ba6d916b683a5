"""Every secret that is kept sealed: under which keys, and sealed again under another one.

Their publication (endpoints carry their sealed secrets) follows from the version that a change raises.
"""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.core.events.records import name_client_key_context
from pipeline.core.signing.sealing import Sealed
from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.pool import Pool

Reseal = Callable[[Sealed, str], Sealed]  # a sealed secret and its context


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A sealing key that secrets are sealed with; one of them, with its context, to try the key on."""

    key_id: str
    secrets: int
    context: str
    sealed: bytes


async def list_key_uses(pool: Pool) -> list[KeyUse]:
    """Every key in use, by id. Deleted secrets do not count."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(KeyUse)) as cursor:
        await cursor.execute(
            "select key_id, count(*) as secrets, (array_agg(context order by context))[1] as context, "
            "(array_agg(sealed order by context))[1] as sealed from ("
            "select key_id, subscription_id::text as context, sealed from subscriptions where deleted_at is null "
            "union all select previous_key_id, subscription_id::text, previous_sealed from subscriptions "
            "where deleted_at is null and previous_key_id is not null and previous_valid_until > now() "
            "union all select tls_key_id, subscription_id::text || %(key_context)s, tls_sealed from subscriptions "
            "where deleted_at is null and tls_key_id is not null "
            "union all select key_id, application_id::text, sealed from application_secrets where deleted_at is null "
            "union all select key_id, organization_id::text, sealed from service_tokens where deleted_at is null"
            ") s group by key_id order by key_id",
            {"key_context": name_client_key_context("")},
        )
        return await cursor.fetchall()


async def list_applications_to_reseal(pool: Pool, key_id: str) -> list[str]:
    """Applications with a secret that is sealed with another key than `key_id`."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select distinct application_id::text from ("
            "select application_id from subscriptions where deleted_at is null and (key_id <> %(key_id)s "
            "or tls_key_id <> %(key_id)s or (previous_key_id <> %(key_id)s and previous_valid_until > now())) "
            "union all select application_id from application_secrets "
            "where deleted_at is null and key_id <> %(key_id)s) a order by 1",
            {"key_id": key_id},
        )
        return [str(row[0]) for row in await cursor.fetchall()]


async def reseal_application(pool: Pool, application_id: str, key_id: str, reseal: Reseal) -> int:
    """Seal an application's secrets again where they are not sealed with `key_id`; how many. All of them, or none."""
    count = 0
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        # the names are these and nothing a user says
        for prefix in ("", "previous_", "tls_"):
            cursor = await connection.execute(
                f"select subscription_id::text, {prefix}key_id, {prefix}sealed from subscriptions "  # noqa: S608 - see above
                f"where application_id = %s and deleted_at is null and {prefix}key_id <> %s",
                (application_id, key_id),
            )
            for subscription_id, old_key_id, sealed in await cursor.fetchall():
                context = name_client_key_context(subscription_id) if prefix == "tls_" else subscription_id
                new = reseal(Sealed(key_id=old_key_id, sealed=sealed), context)
                await connection.execute(
                    f"update subscriptions set {prefix}key_id = %s, {prefix}sealed = %s, changed_version = %s "  # noqa: S608 - see above
                    "where subscription_id = %s",
                    (new.key_id, new.sealed, version, subscription_id),
                )
                count += 1
        cursor = await connection.execute(
            "select token_hash, key_id, sealed from application_secrets "
            "where application_id = %s and deleted_at is null and key_id <> %s",
            (application_id, key_id),
        )
        for token_hash, old_key_id, sealed in await cursor.fetchall():
            new = reseal(Sealed(key_id=old_key_id, sealed=sealed), application_id)
            await connection.execute(
                "update application_secrets set key_id = %s, sealed = %s where token_hash = %s",
                (new.key_id, new.sealed, token_hash),
            )
            count += 1
    return count
