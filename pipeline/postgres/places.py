"""Turns at a pool's connections: tenants that wait take them by turns, and one alone has three quarters at most.

In the order of arrival, a tenant with more statements under way than there are connections would make others wait until
all of them have ended: slow reads, or changes of one application, which wait for each other with a connection each.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.tenant import SYSTEM
from pipeline.tenant_turns import TenantTurns


class Places:
    """The places of a pool: one for each connection. A task that has one needs no other. `SYSTEM` may have all."""

    def __init__(self, places_max: int) -> None:
        self._free = self._places_max = places_max
        self._each_max = max(1, places_max - places_max // 4)
        self._taken: Counter[str] = Counter()
        self._waiting = TenantTurns()  # while there is a free place, each of them has as many as it may have
        self._holders: set[asyncio.Task[object] | None] = set()
        self.waited = self.failed = 0
        self.waited_s = 0.0

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def hold(self, tenant: str, timeout_s: float) -> AsyncIterator[None]:
        """A place within the block. Raises `TimeoutError` when none came in time."""
        task = asyncio.current_task()
        if task in self._holders:
            yield
            return
        await self.take(tenant, timeout_s)
        self._holders.add(task)
        try:
            yield
        finally:
            self._holders.discard(task)
            self.release(tenant)

    async def take(self, tenant: str, timeout_s: float) -> None:
        """Take a place; `release` must follow. Raises as `hold`."""
        if self._free and self._has_room(tenant):
            self._give(tenant)
            return
        begun_at_s = time.monotonic()
        self.waited += 1
        turn = self._waiting.join(tenant)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            if not self._waiting.leave(tenant, turn):
                self.release(tenant)
            self.failed += isinstance(error, TimeoutError)
            raise
        finally:
            self.waited_s += time.monotonic() - begun_at_s

    def _has_room(self, tenant: str) -> bool:
        return self._taken[tenant] < (self._places_max if tenant == SYSTEM else self._each_max)

    def _give(self, tenant: str) -> None:
        self._free -= 1
        self._taken[tenant] += 1

    def release(self, tenant: str) -> None:
        """Give a place back."""
        self._free += 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        following = self._waiting.give(self._has_room)
        if following is not None:
            self._give(following)
