"""The choice of the next work: the lanes' turns, within the shares of applications, and parked work at its pace."""

import asyncio
import time
from collections.abc import Callable

from connectors.runtime.partition import Work
from connectors.runtime.shares import Shares
from pipeline.core.lanes.lanes import Lanes, Taken
from pipeline.core.lanes.parked_pace import ParkedPace


class Starts:
    """Takes work out of lanes."""

    def __init__(self, lanes: Lanes[Work], shares: Shares, pace: ParkedPace, start: Callable[[], None]) -> None:
        """`start`: called when parked work, which had to wait for its pace, may start."""
        self._lanes = lanes
        self._shares = shares
        self._start = start
        self._timer: asyncio.TimerHandle | None = None
        self._started_at_s = time.monotonic()  # or when there was nothing to start
        self.pace = pace

    def take(self, at_us: int) -> Taken[Work] | None:
        """The work that starts now; its gate has counted it. None: nothing may start."""
        wait_us = self.pace.wait_us(at_us) if self._lanes.has_parked else 0
        taken = self._lanes.take(
            at_us, may_open=self._shares.may_open, has_place=self._shares.has_place, with_parked=not wait_us
        )
        if taken is None:
            if wait_us and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(wait_us / 1_000_000, self._start_again)
            return None
        self._started_at_s = at_us / 1_000_000
        for _ in range(taken.parked):
            self.pace.start()
        return taken

    def waits_for_s(self) -> float:
        """Seconds for which work could have been started, and none was. Parked work may wait for its pace."""
        waited_s = time.monotonic() - self._started_at_s
        if self._lanes.has_runnable:
            return waited_s
        return max(0.0, waited_s - 1 / self.pace.rate_per_s) if self._lanes.has_parked else 0.0

    def note_idle(self, at_us: int) -> None:
        """Note the time without work to start. Call it regularly, after all work that may start has started."""
        if not self._lanes.has_runnable and not self._lanes.has_parked:
            self._started_at_s = at_us / 1_000_000

    def _start_again(self) -> None:
        self._timer = None
        self._start()
