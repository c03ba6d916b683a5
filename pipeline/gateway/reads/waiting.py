"""Reading your own writes: a read that may concern an event just accepted waits, bounded, until the archive has it.

Events accepted before the request lie before the end of the application's partition of the events topic. Positions are
read from the primary, and so are events that were waited for, since a replica may lag.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sized
from typing import TypeVar

from pipeline.core.log.partition import locate_partition
from pipeline.gateway.context import Gateway
from pipeline.postgres.archive.progress import has_undispatched, is_dispatched
from pipeline.postgres.pool import DatabaseFailed, Pool

POLL_FIRST_S = 0.003
POLL_MAX_S = 0.05

T = TypeVar("T")
Page = TypeVar("Page", bound=Sized)


async def find_anywhere(gateway: Gateway, find: Callable[[Pool], Awaitable[T | None]]) -> T | None:
    """The item, from a replica or else from the primary."""
    reader = gateway.lookup_pool
    if reader is not gateway.fresh_pool:
        try:
            found = await find(reader)
        except DatabaseFailed as error:
            gateway.log.warning("replica_unavailable", reason=str(error).partition("\n")[0])
            found = None
        if found is not None:
            return found
    return await find(gateway.fresh_pool)


async def list_fresh(
    gateway: Gateway, application_id: str, event_id: str | None, read: Callable[[Pool], Awaitable[Page]]
) -> Page:
    """Result of `read` when all that the application had accepted (or this event) is archived with its matches.

    `read`: attempts or deliveries. Those of one event come with its matches: when it has some, there is no wait.
    """
    if event_id is not None and (found := await read(gateway.fresh_pool)):
        gateway.metrics.archive_waits_total.labels("at_once").inc()
        return found
    await wait_for_archive(gateway, application_id, event_id=event_id, dispatched=True)
    return await read(gateway.fresh_pool)


async def wait_for_archive(
    gateway: Gateway, application_id: str, *, event_id: str | None = None, dispatched: bool = False
) -> None:
    """Wait until what the application had accepted (or this event) is archived; with `dispatched`, its matches too.

    Returns after at most `gateway.archive_wait_s` in any case: then the read shows what there is. When it returns
    early, an event that is not in the archive was never accepted.
    """
    if dispatched and event_id is not None and await is_dispatched(gateway.fresh_pool, application_id, event_id):
        gateway.metrics.archive_waits_total.labels("at_once").inc()
        return
    started_at_s = time.monotonic()
    try:
        async with asyncio.timeout(gateway.settings.gateway.archive_wait_s):
            end = await _catch_up(gateway, application_id)
            if dispatched and not gateway.catching_up.is_dispatched(application_id, end):
                await _poll(lambda: _are_dispatched(gateway, application_id, event_id))
                if event_id is None:
                    gateway.catching_up.note_dispatched(application_id, end)
    except TimeoutError:
        # the time is over, or Kafka does not say where the partition ends
        gateway.metrics.archive_waits_total.labels("timeout").inc()
        waited_s = round(time.monotonic() - started_at_s, 3)
        gateway.log.warning("archive_behind", application_id=application_id, waited_s=waited_s)
    else:
        gateway.metrics.archive_waits_total.labels("caught_up").inc()


async def _catch_up(gateway: Gateway, application_id: str) -> int:
    """Wait until the archive has everything accepted before this call; returns the offset of that end."""
    partition = locate_partition(application_id.encode(), gateway.topics.events.partitions)
    wanted: int | None = None

    async def is_there() -> bool:
        nonlocal wanted
        progress = await gateway.catching_up.ask(partition)
        wanted = progress.end if wanted is None else wanted
        # a position behind the end is of a log that has lost it since: the archive is about to begin there again
        return wanted <= progress.archived <= progress.end

    await _poll(is_there)
    return wanted or 0


async def _are_dispatched(gateway: Gateway, application_id: str, event_id: str | None) -> bool:
    return not await has_undispatched(gateway.fresh_pool, application_id, event_id)


async def _poll(is_there: Callable[[], Awaitable[bool]]) -> None:
    pause_s = POLL_FIRST_S
    while not await is_there():
        await asyncio.sleep(pause_s)
        pause_s = min(1.5 * pause_s, POLL_MAX_S)
