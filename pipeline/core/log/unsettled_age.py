"""How old the oldest record is that is not settled: what retention will take first.

Sampled, a record in a second of the log at most, so that it costs nothing to keep: an age is at most a second too high.
"""

from collections import deque

STEP_US = 1_000_000


class UnsettledAge:
    """The age of the oldest unsettled record of one partition. Offsets are noted in rising order."""

    __slots__ = ("_noted", "_noted_us")

    def __init__(self) -> None:
        self._noted: deque[tuple[int, int]] = deque()
        self._noted_us = 0

    def note(self, offset: int, timestamp_us: int) -> None:
        """A record was read."""
        if not self._noted or timestamp_us - self._noted_us >= STEP_US:
            self._noted.append((offset, timestamp_us))
            self._noted_us = timestamp_us

    def catch_up(self, offset: int, now_us: int) -> None:
        """Note that all records below `offset` are settled and the log ends there. Later ones are no older than now."""
        self._noted = deque([(offset, now_us)])
        self._noted_us = now_us

    def oldest_us(self, settled: int) -> int | None:
        """The timestamp of the record at `settled`, the first that is not settled. None: no record was noted yet.

        It is that of the last noted record before `settled` if the record itself was not noted.
        """
        noted = self._noted
        while len(noted) > 1 and noted[1][0] <= settled:
            noted.popleft()
        return noted[0][1] if noted else None
