"""Reading your own writes: a read that may concern an event just accepted waits, bounded, until the archive has it.

What was accepted before the request is before the end of the application's partition of the events topic. Positions
are asked of the primary, and what has been waited for is read there, since a replica may lag.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.core.log.partition import locate_partition
from pipeline.gateway.context import Gateway
from pipeline.postgres.archive.progress import has_undispatched, is_dispatched, read_next_offset
from pipeline.postgres.archive.reads import Pool
from pipeline.postgres.pool import DatabaseUnavailable

POLL_FIRST_S = 0.003
POLL_MAX_S = 0.05

T = TypeVar("T")


async def find_anywhere(gateway: Gateway, find: Callable[[Pool], Awaitable[T | None]]) -> T | None:
    """What a replica has, or else the primary."""
    reader = gateway.read_pool
    if reader is not gateway.pool:
        try:
            found = await find(reader)
        except DatabaseUnavailable as error:
            gateway.log.warning("replica_unavailable", reason=str(error).partition("\n")[0])
            found = None
        if found is not None:
            return found
    return await find(gateway.pool)


async def wait_for_archive(
    gateway: Gateway, application_id: str, *, event_id: str | None = None, dispatched: bool = False
) -> None:
    """Wait until what the application had accepted (or this event) is archived; with `dispatched`, its matches too.

    Returns after at most `gateway.archive_wait_s` in any case: then the read shows what there is. When it returns
    early, what is not in the archive was never accepted.
    """
    if dispatched and event_id is not None and await is_dispatched(gateway.pool, application_id, event_id):
        gateway.metrics.archive_waits_total.labels("at_once").inc()
        return
    started_at_s = time.monotonic()
    try:
        async with asyncio.timeout(gateway.settings.gateway.archive_wait_s):
            await _catch_up(gateway, application_id)
            if dispatched:
                await _poll(lambda: _are_dispatched(gateway, application_id, event_id))
    except TimeoutError:
        # the time is over, or Kafka does not say where the partition ends
        gateway.metrics.archive_waits_total.labels("timeout").inc()
        waited_s = round(time.monotonic() - started_at_s, 3)
        gateway.log.warning("archive_behind", application_id=application_id, waited_s=waited_s)
    else:
        gateway.metrics.archive_waits_total.labels("caught_up").inc()


async def _catch_up(gateway: Gateway, application_id: str) -> None:
    events = gateway.topics.events
    partition = locate_partition(application_id.encode(), events.partitions)
    end = await gateway.ends.end_offset(events, partition)
    topic_id = gateway.ids.find(events.name)

    async def is_there() -> bool:
        archived = await read_next_offset(gateway.pool, events.name, partition, topic_id)
        # a position behind the end is of a log that has lost it since: the archive is about to begin there again
        return archived == end or (archived > end and archived <= await gateway.ends.end_offset(events, partition))

    await _poll(is_there)


async def _are_dispatched(gateway: Gateway, application_id: str, event_id: str | None) -> bool:
    return not await has_undispatched(gateway.pool, application_id, event_id)


async def _poll(is_there: Callable[[], Awaitable[bool]]) -> None:
    pause_s = POLL_FIRST_S
    while not await is_there():
        await asyncio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, POLL_MAX_S)
