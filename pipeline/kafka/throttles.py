"""How long brokers hold back what this process reads: they do by quotas, and are silent on its connection meanwhile.

What a client reads then, it gets no error for: nothing comes, as if there were nothing.
"""

import threading
import time
from collections.abc import Callable
from weakref import WeakSet

from confluent_kafka import ThrottleEvent

# A shorter wait makes reading slower, and lag says so; in a longer one nothing moves.
HELD_MIN_S = 5.0


class Throttle:
    """The last wait that a broker imposed on one client. Set by the thread of that client."""

    __slots__ = ("__weakref__", "_clock", "_said")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said = (0.0, 0.0)  # how long the client is held back, and until when

    def note(self, event: ThrottleEvent) -> None:
        """A client's `throttle_cb`: called with 0 s for the first answer that came at once again."""
        self.hold(event.throttle_time)

    def hold(self, for_s: float) -> None:
        """Note that the broker answers nothing for so long; 0: it has answered."""
        self._said = (for_s, self._clock() + for_s)

    def held_for_s(self) -> float:
        """The whole wait, while it lasts; 0: there is none."""
        for_s, until_s = self._said
        return for_s if until_s > self._clock() else 0.0


class Throttles:
    """The throttles of all readers of this process. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: WeakSet[Throttle] = WeakSet()  # those of clients that are gone are gone too

    def open(self) -> Throttle:
        """The throttle of one more client, which must keep it."""
        throttle = Throttle(self._clock)
        with self._lock:
            self._open.add(throttle)
        return throttle

    def check(self) -> str | None:
        """Health: None, or that nothing is read."""
        with self._lock:
            held_s = max((each.held_for_s() for each in self._open), default=0.0)
        if held_s < HELD_MIN_S:
            return None
        return f"a quota of the broker for what its clients read holds this process back, {held_s:.0f} s this time"


THROTTLES = Throttles()
