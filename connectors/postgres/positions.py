"""Positions that move without a record: over the end of a transaction, and back where a log begins anew."""

import asyncio

import structlog

from connectors.postgres.claims import Claims
from connectors.sink import Place

log = structlog.get_logger()


class ArchivePositions:
    """Satisfies `PositionKeeper`. Reads of the archive wait for a position, not for a record."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._advancing: asyncio.Task[None] | None = None

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        self._claims.note_vacant(place, begin, end)

    def set_back(self, place: Place, position: int) -> None:
        self._claims.note_break(place, position)

    def reached(self, place: Place, offset: int) -> None:
        is_free = self._advancing is None or self._advancing.done()
        if is_free and (self._claims.has_break(place) or self._claims.may_advance(place, offset)):
            self._advancing = asyncio.create_task(self._advance(place, offset))
            # raises again what it raised, which the loop reports to the supervisor
            self._advancing.add_done_callback(lambda done: done.cancelled() or done.result())

    async def _advance(self, place: Place, offset: int) -> None:
        async with self._claims.writing:
            try:
                if self._claims.has_break(place):  # a restart would begin at the old log's position, and tell it again
                    await self._claims.pass_break(place)
                if not self._claims.may_advance(place, offset):
                    return
                await self._claims.write(self._claims.plan_vacant(place, offset))
            except Exception as error:  # the next batch meets the same, and is where it is handled
                log.warning("position_waits", topic=place[0], partition=place[1], reason=str(error))
