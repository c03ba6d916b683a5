"""Turns at a pool's connections: tenants that wait take them by turns, and one alone has three quarters at most.

In the order of arrival, a tenant with more statements under way than there are connections would make others wait until
all of them have ended: slow reads, or changes of one application, which wait for each other with a connection each.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from pipeline.tenant import SYSTEM


class Places:
    """The places of a pool: one for each connection. A task that has one needs no other. `SYSTEM` may have all."""

    def __init__(self, places_max: int) -> None:
        self._free = self._places_max = places_max
        self._each_max = max(1, places_max - places_max // 4)
        self._taken: Counter[str] = Counter()
        # tenants in turn; while there is a free place, each of them has as many as it may have
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._holders: set[asyncio.Task[object] | None] = set()
        self.waited = self.failed = 0
        self.waited_s = 0.0

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def hold(self, tenant: str, timeout_s: float) -> AsyncIterator[None]:
        """A place within the block. Raises `TimeoutError` when none came in time."""
        task = asyncio.current_task()
        if task in self._holders:
            yield
            return
        await self._take(tenant, timeout_s)
        self._holders.add(task)
        try:
            yield
        finally:
            self._holders.discard(task)
            self._release(tenant)

    async def _take(self, tenant: str, timeout_s: float) -> None:
        if self._free and self._has_room(tenant):
            self._give(tenant)
            return
        begun_at_s = time.monotonic()
        self.waited += 1
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(place)
        try:
            async with asyncio.timeout(timeout_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._release(tenant)  # it came at the last moment
            else:
                self._withdraw(tenant, place)
            self.failed += isinstance(error, TimeoutError)
            raise
        finally:
            self.waited_s += time.monotonic() - begun_at_s

    def _withdraw(self, tenant: str, place: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(tenant, deque())
        if place in queue:
            queue.remove(place)
        if not queue:
            self._waiting.pop(tenant, None)

    def _has_room(self, tenant: str) -> bool:
        return self._taken[tenant] < (self._places_max if tenant == SYSTEM else self._each_max)

    def _give(self, tenant: str) -> None:
        self._free -= 1
        self._taken[tenant] += 1

    def _release(self, tenant: str) -> None:
        self._free += 1
        self._taken[tenant] -= 1
        if not self._taken[tenant]:
            del self._taken[tenant]
        for following, queue in list(self._waiting.items()):
            if not self._has_room(following):
                continue
            place = next((each for each in iter_popped(queue) if not each.done()), None)  # else it was cancelled
            if queue:
                self._waiting.move_to_end(following)
            else:
                del self._waiting[following]
            if place is not None:
                self._give(following)
                place.set_result(None)
                return


def iter_popped(queue: "deque[asyncio.Future[None]]") -> "Iterator[asyncio.Future[None]]":
    """The members of a queue, each taken out of it as it comes."""
    while queue:
        yield queue.popleft()
