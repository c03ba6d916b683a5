"""Records read of each partition: the age of the oldest that is not settled, and offsets without a record."""

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from faust.types import TP

from pipeline.core.log.unsettled_age import UnsettledAge
from pipeline.kafka.log_guard import RecordTime

# Fetches between two looks: a hundred a second at most.
READS_MAX = 1000


class Gap(NamedTuple):
    """Offsets from `begin` to below `end` of which nothing was read."""

    tp: TP
    begin: int
    end: int


class Fetched(Protocol):
    """A record as aiokafka shows it."""

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int:
        """The record's time in milliseconds."""


class Reading:
    """Looks at the first and last record of a fetch, whatever its size."""

    def __init__(self) -> None:
        self._next_offsets: dict[TP, int] = {}
        self._reached: dict[TP, int] = {}
        self._ages: dict[TP, UnsettledAge] = {}
        self._gaps: list[Gap] = []
        # the last record of each fetch since the log was looked at: offset and time in milliseconds
        self.reads: dict[TP, deque[tuple[int, int]]] = {}
        self.batch_ends: dict[TP, int] = {}  # of the last batch that was read

    def note(self, tp: TP, first: Fetched, last: Fetched, committed: int | None) -> None:
        """Note a fetch. `committed`: where reading began, if nothing of the partition was fetched before."""
        expected = self._next_offsets.get(tp, committed)
        if expected is not None and first.offset > expected:
            self._gaps.append(Gap(tp, expected, first.offset))
        self._next_offsets[tp] = last.offset + 1
        self.reads.setdefault(tp, deque(maxlen=READS_MAX)).append((last.offset, last.timestamp))
        self._ages.setdefault(tp, UnsettledAge()).note(first.offset, first.timestamp * 1000)

    def positions(self) -> dict[TP, int]:
        """The next offset of each fetched partition."""
        return {tp: max(offset, self._reached.get(tp, 0)) for tp, offset in self._next_offsets.items()}

    def reach(self, tp: TP, position: int) -> None:
        """Note the client's position. All records before it were noted: between the last one and here there is none."""
        self._reached[tp] = position

    def reached(self, tp: TP) -> int | None:
        """The client's next offset: behind the last record, ends of transactions and aborted records."""
        return self._reached.get(tp)

    def begin(self, tp: TP, offset: int) -> None:
        """Note that reading goes back to this offset, before records that were read already."""
        self._next_offsets[tp] = offset
        self._reached.pop(tp, None)
        self._ages.pop(tp, None)
        self.reads.pop(tp, None)
        self.batch_ends.pop(tp, None)  # the log may be another one

    def forget(self) -> None:
        """Forget partitions that were taken away; if they come back, they are read from their commit."""
        self._next_offsets.clear()
        self._reached.clear()
        self._ages.clear()
        self.reads.clear()
        self.batch_ends.clear()

    def last_read(self, tp: TP) -> RecordTime | None:
        """The last record that was read since the log was looked at; None: none was."""
        reads = self.reads.get(tp)
        return RecordTime(*reads[-1]) if reads else None

    def drop_reads(self, reads: Mapping[TP, Collection[tuple[int, int]]]) -> None:
        """The log was looked at after these, and is the one that they were read from."""
        for tp, seen in reads.items():
            self.reads[tp] = deque((each for each in self.reads.get(tp, ()) if each not in seen), maxlen=READS_MAX)

    def next_offset(self, tp: TP) -> int | None:
        """The offset behind the last record that was fetched; None: none was yet."""
        return self._next_offsets.get(tp)

    def measure_age_us(self, tp: TP, settled: int, now_us: int, *, is_done: bool) -> int:
        """How old the oldest record is that is not settled. `is_done`: there is none."""
        ages = self._ages.setdefault(tp, UnsettledAge())
        if is_done:
            ages.catch_up(settled, now_us)
        oldest_us = ages.oldest_us(settled)
        return max(0, now_us - oldest_us) if oldest_us is not None else 0

    def list_gaps(self) -> list[Gap]:
        """The gaps that `count_missing` has to explain."""
        return list(self._gaps)

    def count_missing(self, starts: Mapping[TP, int]) -> dict[TP, int]:
        """Records that retention took before they were read. `starts`: where the partitions with gaps begin now.

        Gaps of these partitions are then forgotten. Ends of transactions and aborted records leave gaps as well: those
        lie behind the start, and do not count.
        """
        missing: dict[TP, int] = {}
        for tp, begin, end in self._gaps:
            if (count := min(starts.get(tp, 0), end) - begin) > 0:
                missing[tp] = missing.get(tp, 0) + count
        self._gaps = [gap for gap in self._gaps if gap.tp not in starts]
        return missing
