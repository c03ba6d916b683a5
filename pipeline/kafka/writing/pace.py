"""How far apart the producer's steps are. No client and no clock in here.

A batch costs its sender 180 µs of CPU and Kafka 350, whether it has one record or ten, and everything behind it works
in the same batches. The pace follows the time acknowledgements take, and how short processors are
(`pipeline.pressure`): larger batches give time back.
"""

import math

from pipeline.pressure import Pressure

# Between steps while anything is outstanding: half of what an acknowledgement takes, within these bounds. (A quarter,
# 10 ms at most: 838 and 958 delivered/s at saturation; 1,066 and 1,186 with these, in turns on one machine.)
PACE_MIN_S = 0.002
PACE_MAX_S = 0.040
PACE_SHARE = 0.5
# records that linger wait for so long where processors are short
HELD_MAX_S = 0.15
SMOOTHING = 0.1
# after so many steps without an acknowledgement Kafka is slow, or away: look more rarely
QUICK_STEPS = 50
SLOW_PACE_S = 0.02


class StepPace:
    """Times are of the loop's clock."""

    def __init__(self, pace_min_s: float, pace_max_s: float = PACE_MAX_S, pressure: Pressure | None = None) -> None:
        """`pace_max_s`: where processors are short, by `pressure`; None: nothing but acknowledgements decides."""
        self._pace_min_s = pace_min_s
        self._pace_max_s = pace_max_s
        self._pressure = pressure
        self._idle_steps = 0
        self._taken_s = 0.0  # by an acknowledgement: the longest of each step, smoothed
        self._oldest_s = math.inf  # handed over, of the records that this step has acknowledged
        self.pace_s = PACE_MIN_S

    @property
    def is_slow(self) -> bool:
        """Did many steps bring no acknowledgement?"""
        return self._idle_steps >= QUICK_STEPS

    @property
    def busy_s(self) -> float:
        """Seconds to the next step while acknowledgements come."""
        return max(self._pace_min_s, self.pace_s)

    @property
    def next_s(self) -> float:
        """Seconds to the next step."""
        return SLOW_PACE_S if self.is_slow else self.busy_s

    def hold_s(self, linger_s: float) -> float:
        """Seconds for which a record of a topic that lingers is held."""
        return max(linger_s, self._gather_s(HELD_MAX_S))

    def hurry(self) -> None:
        """Step at the quick pace again: a record was sent."""
        self._idle_steps = 0

    def note(self, handed_over_s: float) -> None:
        """Note an acknowledgement."""
        self._oldest_s = min(self._oldest_s, handed_over_s)

    def end_step(self, now_s: float, acknowledged: int) -> None:
        """End a step, which brought so many acknowledgements."""
        if not acknowledged:
            self._idle_steps += 1
            return
        self._idle_steps = 0
        if self._oldest_s < math.inf:
            self._taken_s += SMOOTHING * (now_s - self._oldest_s - self._taken_s)
            self._oldest_s = math.inf
            by_acknowledgements_s = min(max(PACE_MIN_S, PACE_SHARE * self._taken_s), PACE_MAX_S)
            self.pace_s = max(by_acknowledgements_s, self._gather_s(self._pace_max_s))

    def _gather_s(self, most_s: float) -> float:
        return self._pressure.gather_s(most_s) if self._pressure is not None else 0.0
