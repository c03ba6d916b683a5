"""How far the archive is, for reads that must see events just written. Ask the primary: a replica lags."""

from collections.abc import Collection

from psycopg.rows import tuple_row

from pipeline.postgres.pool import Pool

NEWEST_MAX = 50


IS_DISPATCHED = b"select exists (select from dispatches where application_id = %s and event_id = %s)"
NEXT_OFFSETS = b"""
select partition, next_offset from archive_offsets
where topic = %s and partition = any(%s) and coalesce(topic_id = %s, true)
"""
UNDISPATCHED = """
select exists (select from (
    select event_id from events where application_id = %%(application_id)s %s
    order by appended_at_us desc, event_offset desc limit %d) e
where not exists (select from dispatches d
    where d.application_id = %%(application_id)s and d.event_id = e.event_id)
and not exists (select from dead_letters l
    where l.application_id = %%(application_id)s and l.event_id = e.event_id))
"""
UNDISPATCHED_OF_APPLICATION = (UNDISPATCHED % ("", NEWEST_MAX)).encode()
UNDISPATCHED_OF_EVENT = (UNDISPATCHED % ("and event_id = %(event_id)s", NEWEST_MAX)).encode()


async def read_next_offsets(
    pool: Pool, topic: str, partitions: Collection[int], topic_id: str | None = None
) -> dict[int, int]:
    """The next offset to archive, by partition: everything before it is archived.

    `topic_id`: the topic's present id. A position in an earlier topic of this name counts as 0.
    """
    found: dict[int, int] = dict(await pool.fetch(NEXT_OFFSETS, (topic, list(partitions), topic_id), tuple_row))
    return {partition: max(int(found.get(partition, 0)), 0) for partition in partitions}


async def is_dispatched(pool: Pool, application_id: str, event_id: str) -> bool:
    """Are the matches of this event known?"""
    found = await pool.fetch(IS_DISPATCHED, (application_id, event_id), tuple_row)
    return bool(found[0][0])


async def has_undispatched(pool: Pool, application_id: str, event_id: str | None) -> bool:
    """Is one of the application's newest events (or this one) archived, and neither dispatched nor refused?

    An application's events are matched in their order, so the newest ones speak for all.
    """
    of_event = {} if event_id is None else {"event_id": event_id}
    query = UNDISPATCHED_OF_APPLICATION if event_id is None else UNDISPATCHED_OF_EVENT
    found = await pool.fetch(query, {"application_id": application_id, **of_event}, tuple_row)
    return bool(found[0][0])
