"""How fast parked deliveries may come back, and start, without slowing new ones.

Like a transport that only takes what others leave (LEDBAT, RFC 6817): how long new records take from the log to here is
compared with the least they took lately. What is above that is queueing, in this process or in whatever shares the
processors with it. More of it than the target slows the parked down, less lets them go faster. Times are microseconds,
handed in.
"""

from collections import deque

from pipeline.core.limits.token_bucket import TokenBucket
from pipeline.core.units import SECOND_US

TARGET_US = 5_000
# The target is as long as the least, where that is longer: on a slow machine the usual delay alone is above the least
# by more than 5 ms, and what was parked crawled at its least rate. Bounded, for clocks that differ.
TARGET_MAX_US = 30_000
RATE_MAX_PER_S = 10_000.0
RATE_FIRST_PER_S = 100.0
# in each adjustment, a quarter of a second apart
CUT = 0.3
GROWTH = 0.1
GROWTH_ALONE = 0.25  # nothing new comes that could notice
BURST_S = 0.05
# The baseline covers so long: a lasting load becomes the new one.
WINDOW_US = 600 * SECOND_US
PARTS = 20
# From so many parts on it is the second least of their minima. The log's clock is learned from acknowledgements, and is
# behind in the first seconds of a process: records seemed to take -4 ms, and the 1.5 ms that they took were too many
# for ten minutes. 50,000 deliveries of an endpoint that was back started at the least rate.
SECOND_LEAST_FROM = 4


class SpareRate:
    """A rate that adjusts itself to what new records leave. Never below `min_per_s`: parked work must not starve."""

    __slots__ = (
        "_delays",
        "_delays_us",
        "_leasts_us",
        "_min",
        "_part_from_us",
        "_used",
        "rate_per_s",
    )

    def __init__(self, *, min_per_s: float) -> None:
        self._min = min_per_s
        self.rate_per_s = max(RATE_FIRST_PER_S, min_per_s)
        self._delays, self._delays_us = 0, 0  # since the last adjustment: how many, and their sum
        self._used = 0
        self._leasts_us: deque[float] = deque(maxlen=PARTS)  # of each part of the window, the newest last
        self._part_from_us = 0

    def note(self, delay_us: int) -> None:
        """A new record took so long from the log to here, by the log's clock. Below 0 that is not known yet."""
        if delay_us < 0:
            return
        self._delays += 1
        self._delays_us += delay_us

    def use(self, count: int = 1) -> None:
        """Count starts. A rate that is not used does not grow."""
        self._used += count

    def adjust(self, now_us: int, passed_s: float) -> None:
        """Adjust the rate. Call it regularly; `passed_s`: since the last call."""
        is_used = self._used >= self.rate_per_s * passed_s / 2
        if not self._delays:
            change = GROWTH_ALONE if is_used else 0.0
        else:
            mean_us = self._delays_us / self._delays
            least_us = self._note_least(mean_us, now_us)
            target_us = min(max(TARGET_US, least_us), TARGET_MAX_US)
            excess = min(1.0, (mean_us - least_us - target_us) / target_us)
            change = -CUT * excess if excess > 0 else -GROWTH * excess if is_used else 0.0
        self.rate_per_s = min(max(self._min, self.rate_per_s * (1 + change)), RATE_MAX_PER_S)
        self._delays, self._delays_us, self._used = 0, 0, 0

    def _note_least(self, mean_us: float, now_us: int) -> float:
        leasts_us = self._leasts_us
        if not leasts_us or now_us - self._part_from_us >= WINDOW_US // PARTS:
            self._part_from_us = now_us
            leasts_us.append(mean_us)
        else:
            leasts_us[-1] = min(leasts_us[-1], mean_us)
        return sorted(leasts_us)[1 if len(leasts_us) >= SECOND_LEAST_FROM else 0]


class ParkedPace(SpareRate):
    """Starts of parked deliveries, one by one."""

    __slots__ = ("_tokens",)

    def __init__(self, *, rate_min_per_s: float) -> None:
        super().__init__(min_per_s=rate_min_per_s)
        self._tokens = TokenBucket(rate_per_s=self.rate_per_s, burst=self.rate_per_s * BURST_S, tokens=1.0)

    def wait_us(self, now_us: int) -> int:
        """How long until one more may be started; 0: now."""
        return self._tokens.wait_us(now_us)

    def start(self) -> None:
        """One was started; of a batch perhaps without room for it: then those behind it wait longer."""
        self.use()
        self._tokens.take()

    def adjust(self, now_us: int, passed_s: float) -> None:
        super().adjust(now_us, passed_s)
        self._tokens.rate_per_s, self._tokens.burst = self.rate_per_s, self.rate_per_s * BURST_S
