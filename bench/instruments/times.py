"""Times at which the requests of an open loop are sent, in microseconds from its start. Pure."""

import math
from typing import NamedTuple, Protocol


class Times(Protocol):
    """Fixed times, one for each request."""

    def count(self, after_us: float) -> int:
        """The number of requests whose time has come."""

    def find(self, request: int) -> float:
        """The time of a request; the first one has the number 0."""


class Even(NamedTuple):
    """Equal pauses between requests."""

    period_us: float

    def count(self, after_us: float) -> int:
        return int(after_us / self.period_us) + 1

    def find(self, request: int) -> float:
        return request * self.period_us


class Rising(NamedTuple):
    """Steps of the same length, in which requests come once, once, twice, three times … as often as in the first one.

    The first rate has two steps: one to get warm. `step_requests`: how many the first step has.
    """

    step_us: float
    step_requests: float

    def count(self, after_us: float) -> int:
        step = int(after_us / self.step_us)
        in_step = (after_us / self.step_us - step) * self._of(step)
        return int(self._before(step) + in_step) + 1

    def find(self, request: int) -> float:
        step = max(0, math.isqrt(max(0, int(2 * request / self.step_requests) - 2)))
        while self._before(step + 1) <= request:
            step += 1
        while step and self._before(step) > request:
            step -= 1
        return (step + (request - self._before(step)) / self._of(step)) * self.step_us

    def _of(self, step: int) -> float:
        """The requests of a step."""
        return self.step_requests * max(1, step)

    def _before(self, step: int) -> float:
        """The requests of all steps before one."""
        return self.step_requests * (1 + step * (step - 1) / 2) if step else 0.0
