"""Outcomes that come in a crowd: spread over a while, and then taken a few in each turn of the loop.

When a network fails, hundreds of requests that began together time out together. Each outcome is judged and written,
and frees a place at which the next request begins. All in one turn of the loop, those of a thousand hanging endpoints
held up the healthy ones (p99 50.6 ms, p99.9 158; in portions 22.6 and 55.5: `hookline bench neighbours`). Portions
leave the loop to others, but not the machine: archive, Kafka and PostgreSQL have their part of each outcome, and the
requests that begin together end together again. So an outcome that took long waits for a random part of that time.
"""

import asyncio
from collections import deque

from pipeline.core.units import SECOND_US

PORTION = 5
# What took less than this does not wait. More of the time would spread a crowd sooner, and hold places longer.
SPREAD_FROM_US = SECOND_US
SPREAD_SHARE = 0.2


def choose_spread_s(took_us: int, draw: float) -> float:
    """Seconds for which an outcome waits whose request took `took_us`. `draw`: random, from 0 to 1."""
    return draw * SPREAD_SHARE * took_us / SECOND_US if took_us > SPREAD_FROM_US else 0.0


class Portions:
    """Portions of work. Belongs to the loop on which it is used."""

    __slots__ = ("_is_renewing", "_left", "_size", "_waiting")

    def __init__(self, size: int = PORTION) -> None:
        """`size`: how many may go on in one turn of the loop."""
        self._size = size
        self._left = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_renewing = False

    async def take(self) -> None:
        """Return at once if this turn has a place left; otherwise in a later turn, in the order of asking."""
        loop = asyncio.get_running_loop()
        if not self._is_renewing:
            self._is_renewing = True
            loop.call_soon(self._renew, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        waiting = loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new turn: the next ones go on."""
        self._left = self._size
        while self._waiting and self._left:
            waiting = self._waiting.popleft()
            if not waiting.done():  # given up meanwhile
                self._left -= 1
                waiting.set_result(None)
        self._is_renewing = bool(self._waiting)
        if self._is_renewing:
            loop.call_soon(self._renew, loop)
