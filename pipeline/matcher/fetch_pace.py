"""The pace of fetches: the faster records come, the more of them go into one chunk.

A chunk costs the matcher, Kafka and those behind it nearly the same, whatever its size: at 1,000 events a second
the matcher takes 0.34 CPU s per 1,000 if it fetches each record at once, and 0.21 if it gathers them. A single record
does not wait. The records' rate tells the two cases apart; the size of a fetch does not, since waiting makes it larger.
"""

# Records a second from which on fetches are a whole pace apart; at fewer, by their square.
GATHERED_PER_S = 1000.0
WINDOW_S = 1.0
PASSED_MIN_S = 0.001


class FetchPace:
    """Times are seconds of one monotonic clock, handed in."""

    __slots__ = ("_fetched_at_s", "_rate_per_s", "least_s", "pace_s")

    def __init__(self) -> None:
        self.pace_s = 0.0  # from records to the next fetch, at most, as their rate has it
        self.least_s = 0.0  # from records to the next fetch, whatever their rate: what short processors ask for
        self._rate_per_s = 0.0  # of about the last second
        self._fetched_at_s = 0.0

    def note(self, records: int, now_s: float) -> None:
        """Note that a fetch brought so many records."""
        passed_s = max(PASSED_MIN_S, now_s - self._fetched_at_s)
        self._rate_per_s += min(1.0, passed_s / WINDOW_S) * (records / passed_s - self._rate_per_s)
        self._fetched_at_s = now_s

    def rest_s(self, now_s: float) -> float:
        """Seconds until the next fetch may begin."""
        apart_s = max(self.least_s, self.pace_s * min(1.0, self._rate_per_s / GATHERED_PER_S) ** 2)
        return max(0.0, self._fetched_at_s + apart_s - now_s)
