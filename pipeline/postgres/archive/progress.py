"""How far the archive is, for reads that expect to see what was just written. Ask the primary: a replica lags."""

from pipeline.postgres.archive.reads import Pool

NEWEST_MAX = 50


async def read_next_offset(pool: Pool, topic: str, partition: int, topic_id: str | None = None) -> int:
    """Everything before this offset of the partition is archived.

    `topic_id`: as it is now; of a position that counts in another topic of this name nothing follows.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select next_offset from archive_offsets where topic = %s and partition = %s "
            "and coalesce(topic_id = %s, true)",
            (topic, partition, topic_id),
        )
        row = await cursor.fetchone()
    return max(int(row[0]), 0) if row is not None else 0


async def is_dispatched(pool: Pool, application_id: str, event_id: str) -> bool:
    """Is it known what this event matched?"""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select exists (select from dispatches where application_id = %s and event_id = %s)",
            (application_id, event_id),
        )
        row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def has_undispatched(pool: Pool, application_id: str, event_id: str | None) -> bool:
    """Is one of the application's newest events (or this one) archived, and neither dispatched nor refused?

    An application's events are matched in their order, so the newest ones speak for all.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select exists (select from ("
            "select event_id from events where application_id = %(application_id)s "
            "and (%(event_id)s::uuid is null or event_id = %(event_id)s::uuid) "
            "order by appended_at_us desc, event_offset desc limit %(newest_max)s) e "
            "where not exists (select from dispatches d "
            "where d.application_id = %(application_id)s and d.event_id = e.event_id) "
            "and not exists (select from dead_letters l "
            "where l.application_id = %(application_id)s and l.event_id = e.event_id))",
            {"application_id": application_id, "event_id": event_id, "newest_max": NEWEST_MAX},
        )
        row = await cursor.fetchone()
    return row is not None and bool(row[0])
