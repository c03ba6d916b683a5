"""How short processors are, as this process feels it, and how long work may be gathered because of that.

Small batches are what a busy machine suffers from most: each costs a request to Kafka, a wake-up here and one in the
process behind. While processors are free a record goes out at once; the longer this process waits for one, the longer
everything in it gathers. What is measured is the share of waiting in the time that the main thread, on which the
loop runs, wants to run (Linux: `/proc/self/schedstat`, 3 µs a look; elsewhere the share is 0). It falls as soon as
batches get larger, so that the pace settles in between.
"""

import math
import os
import time
from collections.abc import Callable

SCHEDSTAT = "/proc/self/schedstat"
# A share up to which nothing is gathered, and one from which on all of it is. Processes that wake each other wait for
# half of their time on a machine that is a quarter idle: gathering from 0.25 on (all of it from 0.65) held producers up
# while there was time left: 1,397 delivered/s at saturation, not 1,924; at 200/s 10.1 ms to the receiver, not 3.5.
CALM_SHARE = 0.6
BUSY_SHARE = 0.9
# What was measured loses half of its weight within 0.7 s.
MEMORY_S = 1.0
LOOK_INTERVAL_S = 0.05
# Counts as time without waiting: a process that hardly runs says little.
PRIOR_S = 0.01
NS = 1_000_000_000

Times = tuple[int, int]  # nanoseconds on a processor, and waiting for one, since the process began


class Pressure:
    """The pressure of this process. `read`: its times; None: they cannot be had. `clock`: seconds, monotonic."""

    __slots__ = ("_clock", "_looked_at_s", "_ran_s", "_read", "_seen", "_waited_s", "share")

    def __init__(
        self, read: Callable[[], Times | None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read if read is not None else open_schedstat()
        self._clock = clock
        self._looked_at_s = clock()
        self._seen = self._read()
        self._ran_s = self._waited_s = 0.0
        self.share = 0.0  # 0 to 1: of the time in which this process wanted to run it waited

    def gather_s(self, most_s: float, least_s: float = 0.0) -> float:
        """How long to gather now, between `least_s` and `most_s`."""
        now_s = self._clock()
        if now_s - self._looked_at_s >= LOOK_INTERVAL_S:
            self._look(now_s)
        busy = min(1.0, max(0.0, (self.share - CALM_SHARE) / (BUSY_SHARE - CALM_SHARE)))
        return least_s + busy * (most_s - least_s)

    def _look(self, now_s: float) -> None:
        times, passed_s = self._read(), now_s - self._looked_at_s
        if times is None or self._seen is None:
            return
        kept = math.exp(-passed_s / MEMORY_S)
        self._ran_s = kept * self._ran_s + (times[0] - self._seen[0]) / NS
        self._waited_s = kept * self._waited_s + (times[1] - self._seen[1]) / NS
        self._looked_at_s, self._seen = now_s, times
        self.share = self._waited_s / (self._ran_s + self._waited_s + PRIOR_S)


def open_schedstat(path: str = SCHEDSTAT) -> Callable[[], Times | None]:
    """Reads the times of this process' main thread. The file stays open as long as the process lives."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return lambda: None

    def read() -> Times | None:
        try:
            ran_ns, waited_ns, _ = os.pread(file, 100, 0).split()
        except (OSError, ValueError):
            return None
        return int(ran_ns), int(waited_ns)

    return read
