"""Many subscriptions at once, for benchmarks: what matching costs when an application has thousands.

Made by the API each is published by itself, which takes minutes for thousands.
"""

from pipeline.postgres.pool import Pool


async def copy_subscription(pool: Pool, subscription_id: str, copies: int) -> None:
    """Copy one. Published with the next change of its application.

    Nothing can be delivered to a copy: its secret is sealed for the original. So it must not match anything.
    """
    async with pool.connection() as connection:
        await connection.execute(
            "insert into subscriptions (subscription_id, application_id, is_enabled, event_types, description, "
            "metadata, labels, target_method, target_url, target_headers, delivery, key_id, sealed, changed_version) "
            "select gen_random_uuid(), application_id, is_enabled, event_types, description, metadata, labels, "
            "target_method, target_url, target_headers, delivery, key_id, sealed, "
            "(select routes_version + 1 from applications a where a.application_id = s.application_id) "
            "from subscriptions s, generate_series(1, %(copies)s) where subscription_id = %(subscription_id)s",
            {"subscription_id": subscription_id, "copies": copies},
        )
