"""How fast records come back from retry topics without slowing new ones.

Taking one and parking it again costs 85 µs of the process: 150,000 that come back together keep it busy for 13 s. They
go at the pace that new records leave them, as what was parked starts (`core.lanes.parked_pace`), and the faster the
later they are: what a neighbour tries again lies among them.
"""

from collections.abc import Callable, Sequence

from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.lanes.parked_pace import SpareRate
from pipeline.core.units import SECOND_US
from pipeline.topics import Topic

RATE_MIN_PER_S = 1_000.0
# A record may be late by this share of the time that it was to wait; then it is taken at once.
LATE_SHARE = 0.5


class Returns:
    """The pace of all retry topics together."""

    def __init__(self, topics: Sequence[Topic], clock_us: Callable[[], int]) -> None:
        """`clock_us`: wall time, by which records are due."""
        self._delays_us = {topic.name: topic.delay_s * SECOND_US for topic in topics}
        self._clock_us = clock_us
        self._rate = SpareRate(min_per_s=RATE_MIN_PER_S)

    @property
    def rate_per_s(self) -> float:
        """The present rate, of records that are not late."""
        return self._rate.rate_per_s

    def note_new(self, delay_us: int) -> None:
        """A new record took so long from the log to here."""
        self._rate.note(delay_us)

    def rest_s(self, taken: Sequence[LogRecord]) -> float:
        """Seconds until more may be taken, after these."""
        self._rate.use(len(taken))
        rest_s, record = len(taken) / self._rate.rate_per_s, taken[-1]
        delay_us = self._delays_us[record.topic]
        late_us = self._clock_us() - record.timestamp_us - delay_us
        return rest_s * min(1.0, max(0.0, 1 - late_us / (delay_us * LATE_SHARE)))

    def tick(self, passed_s: float) -> None:
        """Adjust the rate. Call it regularly; `passed_s`: since the last call."""
        self._rate.adjust(monotonic_us(), passed_s)
