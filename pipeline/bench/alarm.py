"""A clock that wakes to a tenth of a millisecond. Event loops' own timers are a whole one early or late.

At 50 events a second a webhook takes a few milliseconds: half of one, added by the instrument, would be seen.
"""

import asyncio
import signal
import time
from collections.abc import Callable

SECOND_US = 1_000_000
SHORTEST_US = 50
# As often as this at most: what is due in between goes out together.
PERIOD_MIN_US = 300


class Alarm:
    """Calls what is due. One in a process: it uses the interval timer and its signal."""

    def __init__(self) -> None:
        self._wakes: dict[Callable[[], None], int] = {}
        self._rung_us = 0
        asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, self._ring)

    def set(self, callback: Callable[[], None], at_us: int) -> None:
        """Call back once at this time (of the wall clock), or a little later."""
        self._wakes[callback] = at_us
        if min(self._wakes.values()) == at_us:
            self._arm(at_us)

    def close(self) -> None:
        """Nothing is called any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._wakes.clear()

    def _arm(self, at_us: int) -> None:
        now_us = time.time_ns() // 1000
        wait_us = max(at_us - now_us, self._rung_us + PERIOD_MIN_US - now_us, SHORTEST_US)
        signal.setitimer(signal.ITIMER_REAL, wait_us / SECOND_US)

    def _ring(self) -> None:
        now_us = self._rung_us = time.time_ns() // 1000
        for callback, at_us in list(self._wakes.items()):
            if at_us <= now_us:
                del self._wakes[callback]
                callback()
        if self._wakes:
            self._arm(min(self._wakes.values()))
