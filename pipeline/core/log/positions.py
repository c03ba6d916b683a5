"""How far each partition is written, and the steps by which that grows: without a hole.

An offset that holds no record (the end of a transaction, or a record removed by retention or compaction) is no hole
when the reader has reported it; an offset without a report is a record that was lost on the way here.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

Place = tuple[str, int]  # topic name, partition
NOTHING_YET = -1  # the position of a partition of which nothing was ever written


class HoleError(Exception):
    """Records of a partition are missing, or come again, where the next ones were to be written."""


class Step(NamedTuple):
    """One partition moves `from_offset` to `next_offset`: over `records` records and `vacant` offsets without one."""

    from_offset: int
    next_offset: int
    records: int
    vacant: int


class Positions:
    """Positions of the partitions that this process owns."""

    def __init__(self) -> None:
        self._next_offsets: dict[Place, int] = {}
        self._vacant: dict[Place, deque[tuple[int, int]]] = {}

    def begin(self, place: Place, position: int) -> None:
        """A partition is ours, written up to `position`."""
        self._next_offsets[place] = position
        self._vacant[place] = deque()

    def forget(self, place: Place) -> None:
        """Forget a partition that this process no longer owns."""
        self._next_offsets.pop(place, None)
        self._vacant.pop(place, None)

    def note_vacant(self, place: Place, begin: int, end: int) -> None:
        """The log holds no record from `begin` up to `end`. Ranges of a partition come in rising order."""
        if place not in self._vacant:
            return
        ranges = self._vacant[place]
        if ranges and ranges[-1][0] <= begin <= ranges[-1][1]:
            # said bit by bit, as the log grows by ends of transactions
            begin, _ = ranges.pop()
        ranges.append((begin, end))

    def forget_vacant(self, place: Place) -> None:
        """Forget the vacant offsets of a partition whose log is another one from here on."""
        if place in self._vacant:
            self._vacant[place].clear()

    def set_back(self, place: Place, position: int) -> None:
        """The log of this partition was cut off, or made again: what comes next is written from `position` on."""
        self._next_offsets[place] = position

    def check_kept(self, place: Place, next_offset: int) -> None:
        """Check a position that was read again. Raises `HoleError` when it lies before what was confirmed."""
        confirmed = self._next_offsets.get(place, NOTHING_YET)
        if next_offset < confirmed:
            topic, partition = place
            raise HoleError(
                f"{topic} [{partition}] was written up to {confirmed}, and is written up to {next_offset} now: "
                "PostgreSQL lost transactions that it had confirmed; they are archived again"
            )

    def read_on_at(self, place: Place) -> int:
        """The offset of the next record to write, or of vacant offsets before it."""
        return max(self._next_offsets[place], 0)

    def plan(self, place: Place, offsets: Iterable[int]) -> Step:
        """The step over records at these offsets. Raises `HoleError` unless they continue the written position."""
        start = at = self.read_on_at(place)
        records = vacant = 0
        for offset in offsets:
            if offset != at:
                self._check_vacant(place, at, offset)
                vacant += offset - at
            records += 1
            at = offset + 1
        if at == start:
            return Step(self._next_offsets[place], self._next_offsets[place], 0, 0)
        return Step(self._next_offsets[place], at, records, vacant)

    def plan_vacant(self, place: Place, end: int) -> Step:
        """The step to `end` over offsets without a record. Raises `HoleError` unless the reader has said so of all."""
        at = self.read_on_at(place)
        self._check_vacant(place, at, end)
        return Step(self._next_offsets[place], end, 0, end - at)

    def move(self, place: Place, next_offset: int) -> None:
        """Everything before `next_offset` is written."""
        if place not in self._next_offsets:
            return
        self._next_offsets[place] = next_offset
        vacant = self._vacant[place]
        while vacant and vacant[0][1] <= next_offset:
            vacant.popleft()

    def _check_vacant(self, place: Place, at: int, offset: int) -> None:
        if not any(begin <= at and offset <= end for begin, end in self._vacant[place]) or offset < at:
            topic, partition = place
            raise HoleError(f"{topic} [{partition}] is written up to {at}, and the next record is that at {offset}")
