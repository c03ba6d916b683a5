"""The log's clock, for processes whose host clock may be wrong.

Records carry the broker's time; due times, ages and the times written beside them are computed on the same clock.
It is learned from acknowledgements and carried on by the monotonic clock: setting the host's clock changes nothing.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from pipeline.clock import monotonic_us, wall_us
from pipeline.core.events.moments import EPOCH
from pipeline.core.units import MILLISECOND_US, SECOND_US
from pipeline.metrics import Metrics

__all__ = ["LogClock", "monotonic_us", "wall_us"]

# A host's clock that is off by more is logged: people read its times in logs.
TOLERANCE_US = 5 * SECOND_US
WATCH_INTERVAL_S = 2.0

log = structlog.get_logger()


class LogClock:
    """Microseconds since the epoch. Until something was acknowledged it is the host's clock."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._offset_us: int | None = None  # of the log's clock to the monotonic one
        self._is_wrong = False  # the host's, as was logged last

    def now_us(self) -> int:
        """Now. May be called in any thread."""
        return wall_us() if self._offset_us is None else monotonic_us() + self._offset_us

    def now(self) -> datetime:
        """Now, in UTC."""
        return EPOCH + timedelta(microseconds=self.now_us())

    def learn(self, appended_at_ms: int, *, sent_at_us: int, acknowledged_at_us: int) -> None:
        """A record was appended between these two times of the monotonic clock, at this one of the broker's."""
        appended_at_us = appended_at_ms * MILLISECOND_US
        least, most = appended_at_us - acknowledged_at_us, appended_at_us + MILLISECOND_US - sent_at_us
        if self._offset_us is None:
            # The least that it can be: a clock that is ahead, if by half of the broker's millisecond, would let retries
            # leave before they are due.
            self._offset_us = least
        else:
            self._offset_us = min(max(self._offset_us, least), most)
        self.look()

    async def watch(self) -> None:
        """Runs for ever: log that the host's clock is wrong, or right again, also while nothing is written."""
        while True:
            self.look()
            await asyncio.sleep(WATCH_INTERVAL_S)

    def look(self) -> None:
        """Compare the clocks once."""
        ahead_us, problem = self.ahead_us(), self.check()
        self._metrics.clock_ahead_seconds.set(ahead_us / SECOND_US)
        if problem is not None and not self._is_wrong:
            log.error("clock_wrong", reason=problem)
        elif problem is None and self._is_wrong:
            log.info("clock_right")
        self._is_wrong = problem is not None

    def ahead_us(self) -> int:
        """The time by which the host's clock is ahead of the log's; negative: behind."""
        return wall_us() - self.now_us()

    def check(self) -> str | None:
        """Health: None, or by how much the host's clock is wrong."""
        ahead_us = self.ahead_us()
        if abs(ahead_us) <= TOLERANCE_US:
            return None
        word = "ahead of" if ahead_us > 0 else "behind"
        return f"this host's clock is {abs(ahead_us) / SECOND_US:.0f} s {word} the log's"
