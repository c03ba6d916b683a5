"""Connections kept for the next request to the same origin: a bounded number of them, for a few seconds."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from connectors.http.client.connection import Connection
from connectors.http.client.origin import Origin

# A connection in constant use would outlive its host's move to another address.
AGE_MAX_S = 120.0


class Pool:
    """Idle connections by origin; the origin used longest ago comes first."""

    def __init__(self, *, idle_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle_max = idle_max
        self._idle: OrderedDict[Origin, deque[Connection]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Idle connections."""
        return self._count

    def take(self, origin: Origin) -> Connection | None:
        """A connection on which nothing has come in since it was put here; the one used last is the likeliest."""
        idle = self._idle.get(origin)
        now_s = self._clock()
        while idle:
            connection = idle.pop()
            self._count -= 1
            if connection.is_fresh(now_s) and connection.is_quiet():
                return connection
            connection.close()
        return None

    def put(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection, or close it when it cannot be kept."""
        now_s = self._clock()
        if not connection.is_reusable or now_s - connection.made_at_s > AGE_MAX_S:
            connection.close()
            return
        connection.rest(now_s)
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = deque()
        else:
            self._idle.move_to_end(origin)
        idle.append(connection)
        self._count += 1
        while self._count > self._idle_max:
            self._drop_oldest()

    def sweep(self) -> None:
        """Close connections that have been idle for long; to be called every few seconds."""
        now_s = self._clock()
        for origin, idle in list(self._idle.items()):
            while idle and not idle[0].is_fresh(now_s):
                idle.popleft().close()
                self._count -= 1
            if not idle:
                del self._idle[origin]

    def shed(self) -> None:
        """Close half of the idle connections: their file descriptors are needed."""
        for _ in range((self._count + 1) // 2):
            self._drop_oldest()

    def close(self) -> None:
        """Close all of them."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        self._count = 0

    def _drop_oldest(self) -> None:
        origin, idle = next(iter(self._idle.items()))
        if idle:
            idle.popleft().close()
            self._count -= 1
        if not idle:
            del self._idle[origin]
