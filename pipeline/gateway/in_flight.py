"""Events that are being accepted, and whose they are: tenants share what may wait for Kafka's acknowledgement.

A tenant may have as many as are still free, and as many bytes. So one that sends more than Kafka takes has its own
events refused or held back, and not those of others.
"""

import asyncio
from collections import Counter, OrderedDict, deque

EVENT_BYTES = 512  # an event besides its payload, about


class InFlight:
    """Counts one gateway's. Size is looked at before it is taken: one batch may go beyond a share."""

    def __init__(self, *, events_max: int, bytes_max: int) -> None:
        self._events_free, self._bytes_free = events_max, bytes_max
        self._events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def has_room(self, tenant: str) -> bool:
        """May the tenant have one more?"""
        return self._events[tenant] < self._events_free and self._bytes[tenant] < self._bytes_free

    async def wait_for_room(self, tenant: str, timeout_s: float) -> None:
        """Return when the tenant may have one more, in the order of its requests. Raises `TimeoutError`."""
        if self.has_room(tenant) and tenant not in self._waiting:
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(room)
        try:
            async with asyncio.timeout(timeout_s):
                await room
        except BaseException:
            room.cancel()
            self._wake()  # it may have been this one's turn
            raise

    def take(self, tenant: str, payload_bytes: int, events: int = 1) -> None:
        """Count events that begin to be accepted."""
        self._count(tenant, events, payload_bytes + events * EVENT_BYTES)

    def give_back(self, tenant: str, payload_bytes: int, events: int = 1) -> None:
        """Count events that have their answer."""
        self._count(tenant, -events, -payload_bytes - events * EVENT_BYTES)
        self._wake()

    def _count(self, tenant: str, events: int, size_bytes: int) -> None:
        self._events[tenant] += events
        self._bytes[tenant] += size_bytes
        self._events_free -= events
        self._bytes_free -= size_bytes
        if not self._events[tenant]:
            del self._events[tenant], self._bytes[tenant]

    def _wake(self) -> None:
        """Let the first one of each tenant that has room go on. Its own end lets the next one."""
        for tenant, rooms in list(self._waiting.items()):
            while rooms and rooms[0].done():
                rooms.popleft()
            if rooms and self.has_room(tenant):
                rooms.popleft().set_result(None)
            if not rooms:
                del self._waiting[tenant]
