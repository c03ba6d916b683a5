"""The schedule of a stream's requests. Pure."""

import math

from bench.instruments.plan import Pace
from bench.instruments.times import Even, Rising, Times
from pipeline.core.units import SECOND_US


class Schedule:
    """A load's schedule. Its times are fixed once it starts if it has a rate, whatever happens to requests."""

    __slots__ = ("_allowed", "_is_limited", "_most", "_start_us", "_stop_us", "_times")

    def __init__(self, pace: Pace, *, batch: int) -> None:
        self._times = _choose_times(pace, batch)
        self._most = None if pace.events_max is None else math.ceil(pace.events_max / batch)
        self._is_limited = pace.is_limited
        self._allowed = 0
        self._start_us: int | None = None
        self._stop_us: int | None = None

    def start(self, at_us: int) -> None:
        """Begin at this time."""
        self._start_us = at_us

    def stop(self, at_us: int) -> None:
        """End the schedule: no event is due from then on; earlier ones stay due."""
        if self._stop_us is None:
            self._stop_us = at_us

    def allow(self, requests: int) -> None:
        """Set the total number of events of a limited stream."""
        self._allowed = max(self._allowed, requests)

    def count_due(self, now_us: int, sent: int) -> int:
        """How many requests should have been sent by now. `sent`: how many were."""
        if self._start_us is None or now_us < self._start_us:
            return 0
        if self._stop_us is not None and now_us >= self._stop_us:
            if self._times is None:
                return sent
            now_us = self._stop_us - 1
        due = sent + 1 if self._times is None else self._times.count(now_us - self._start_us)
        if self._most is not None:
            due = min(due, self._most)
        return min(due, self._allowed) if self._is_limited else due

    def intended_us(self, request: int, now_us: int) -> int:
        """The time at which a request was to be sent."""
        if self._times is None or self._start_us is None:
            return now_us
        return self._start_us + round(self._times.find(request))

    def next_us(self, due: int) -> int | None:
        """The time of the next request, of which `due` are due; None: it does not come by time."""
        if self._times is None or self._start_us is None or (self._most is not None and due >= self._most):
            return None
        next_us = self._start_us + math.ceil(self._times.find(due))
        return None if self._stop_us is not None and next_us >= self._stop_us else next_us


def _choose_times(pace: Pace, batch: int) -> Times | None:
    if pace.rate_per_s is None:
        return None
    if pace.rises_every_s is None:
        return Even(SECOND_US * batch / pace.rate_per_s)
    return Rising(SECOND_US * pace.rises_every_s, pace.rate_per_s * pace.rises_every_s / batch)
