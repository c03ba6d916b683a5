"""Every version of a subscription, with the versions of its application's routes that it applied to."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow


async def keep_versions(
    connection: AsyncConnection[TupleRow], application_id: str, version: int, subscription_id: str | None = None
) -> None:
    """End the old state of one subscription, or of all, at `version`, in the change's transaction; begin another."""
    values = {"application_id": application_id, "version": version, "subscription_id": subscription_id}
    which = (
        "application_id = %(application_id)s "
        "and (%(subscription_id)s::uuid is null or subscription_id = %(subscription_id)s)"
    )
    await connection.execute(
        "update subscription_versions set to_version = %(version)s, ended_at = now() "  # noqa: S608 - our own words
        f"where {which} and to_version is null",
        values,
    )
    await connection.execute(
        "insert into subscription_versions (subscription_id, application_id, from_version, is_enabled, event_types, "  # noqa: S608 - our own words
        "labels, target_method, target_url) select subscription_id, application_id, %(version)s, is_enabled, "
        f"event_types, labels, target_method, target_url from subscriptions where {which} and deleted_at is null "
        "and changed_version = %(version)s on conflict (subscription_id, from_version) do nothing",
        values,
    )
