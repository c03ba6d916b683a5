"""Partitions of delayed topics that wait in Kafka until their next record is due. No client and no clock in here."""

import heapq
from collections.abc import Mapping, Sequence

from pipeline.kafka.record import LogRecord, Place
from pipeline.topics import Topic

# A delayed partition is looked at no more often than this: every look is a seek and a fetch.
STEP_S = 0.05


class Delays:
    """Times are of the monotonic clock."""

    def __init__(self, topics: Sequence[Topic]) -> None:
        self.by_topic_us: Mapping[str, int] = {
            topic.name: topic.delay_s * 1_000_000 for topic in topics if topic.delay_s
        }
        self._until_s: dict[Place, float] = {}
        self._wakes: list[tuple[float, Place]] = []  # a heap; also of partitions that went away meanwhile
        # Records of a time to come: the first timestamp of them, and when it was read.
        self._ahead: dict[Place, tuple[int, float]] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._until_s

    @property
    def next_s(self) -> float | None:
        """Time at which the next partition is to be looked at."""
        return self._wakes[0][0] if self._wakes else None

    def find_wait_us(self, record: LogRecord, now_us: int, now_s: float) -> int:
        """Find the microseconds until the record, the next one of its partition, is due; 0 or less if it is due.

        A record of a time to come was appended by a broker whose clock was ahead, or ours is behind. It waits for its
        delay from when it was read, and those behind it from there on: all others of the partition wait behind them.
        """
        delay_us = self.by_topic_us.get(record.topic)
        if delay_us is None:
            return 0
        if record.timestamp_us <= now_us:
            if self._ahead:
                self._ahead.pop(record.place, None)
            return record.timestamp_us + delay_us - now_us
        first_us, read_at_s = self._ahead.get(record.place, (record.timestamp_us, now_s))
        if record.timestamp_us < first_us:
            first_us, read_at_s = record.timestamp_us, now_s
        self._ahead[record.place] = (first_us, read_at_s)
        return record.timestamp_us - first_us + delay_us - round((now_s - read_at_s) * 1_000_000)

    def hold(self, place: Place, now_s: float, wait_us: int) -> None:
        """Pause a partition whose next record is due after `wait_us`."""
        until_s = now_s + max(wait_us / 1_000_000, STEP_S)
        self._until_s[place] = until_s
        heapq.heappush(self._wakes, (until_s, place))

    def take_due(self, now_s: float) -> list[Place]:
        """Remove and return the partitions whose next record is due."""
        due = []
        while self._wakes and self._wakes[0][0] <= now_s:
            until_s, place = heapq.heappop(self._wakes)
            # another time, or none: the partition went away, and may have come back
            if self._until_s.get(place) == until_s:
                del self._until_s[place]
                due.append(place)
        return due

    def forget(self, place: Place) -> None:
        """The partition is not ours any more."""
        self._until_s.pop(place, None)
        self._ahead.pop(place, None)
