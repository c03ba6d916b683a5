"""Asking the archive which event ids were accepted before, and whether for the same event."""

import asyncio
from collections.abc import Sequence

import structlog

from pipeline.core.events.fingerprint import fingerprint
from pipeline.gateway.id_lookups import EventKey, Known
from pipeline.postgres.archive.contents import read_contents
from pipeline.postgres.archive.reads import known_event_ids
from pipeline.postgres.pool import DatabaseUnavailable, Pool

log = structlog.get_logger()


class ArchivedIds:
    """`timeout_s`: for reading contents. An id without one is known all the same."""

    def __init__(self, pool: Pool, *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def look_up(self, keys: Sequence[EventKey]) -> Known:
        """The `keys` that the archive has, each with its fingerprint if that could be read."""
        known: Known = dict.fromkeys(await known_event_ids(self._pool, keys))
        if known:
            try:
                async with asyncio.timeout(self._timeout_s):
                    async for content in read_contents(self._pool, list(known)):
                        known[content.application_id, content.event_id] = fingerprint(content)
            except (TimeoutError, *DatabaseUnavailable) as error:
                log.warning("event_contents_not_read", ids=len(known), reason=f"{type(error).__name__}: {error}")
        return known
