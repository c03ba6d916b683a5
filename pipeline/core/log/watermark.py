"""Which records of one partition are settled: the watermark, and completed offsets beyond it.

Records are taken in the order of their offsets and settled in any order. The watermark is the lowest offset that is not
settled: everything below may be committed. A slow record holds it back, so completed offsets beyond it go into the
commit's metadata (see `ranges`), and a restart repeats only records that were in flight.
"""

from collections import deque
from collections.abc import Iterable

from pipeline.core.log.commit_note import Range


class Watermark:
    """The settled records of one partition, from `start` on."""

    __slots__ = ("_done_before", "_order", "_outstanding", "next_offset")

    def __init__(self, start: int, done: Iterable[Range] = ()) -> None:
        """`done`: ranges at or beyond `start` that were completed before, ascending."""
        self.next_offset = start  # the next offset to be taken
        self._order: deque[int] = deque()
        self._outstanding: set[int] = set()
        self._done_before: deque[Range] = deque(done)

    def __len__(self) -> int:
        """Records taken and not settled."""
        return len(self._outstanding)

    def take(self, offset: int) -> bool:
        """A record was read. False when it was completed before a restart, or read already: nothing to do then."""
        if offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        ranges = self._done_before
        while ranges and ranges[0][1] <= offset:
            ranges.popleft()
        if ranges and ranges[0][0] <= offset:
            return False
        self._order.append(offset)
        self._outstanding.add(offset)
        return True

    def skip_to(self, offset: int) -> None:
        """Move on to this offset: no record lies before it."""
        self.next_offset = max(self.next_offset, offset)

    def settle(self, offset: int) -> None:
        """A taken record is done with."""
        self._outstanding.discard(offset)

    def is_settled(self, offset: int) -> bool:
        """Is the record settled, completed before a restart, or gone from the log?"""
        if offset < self.next_offset:
            return offset not in self._outstanding
        return any(first <= offset < end for first, end in self._done_before)

    @property
    def committable(self) -> int:
        """The offset to commit: everything before it is settled."""
        order, outstanding = self._order, self._outstanding
        while order and order[0] not in outstanding:
            order.popleft()
        return order[0] if order else self.next_offset

    def completed_beyond(self) -> list[Range]:
        """Ranges at or beyond the watermark that are settled, ascending, those from before a restart included."""
        ranges: list[Range] = []
        at = self.committable
        for offset in sorted(self._outstanding):
            if offset > at:
                ranges.append((at, offset))
            at = offset + 1
        if at < self.next_offset:
            ranges.append((at, self.next_offset))
        for first, end in self._done_before:
            if end <= self.next_offset:
                continue
            first = max(first, self.next_offset)  # reading has come into the middle of this one
            if ranges and ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((first, end))
        return ranges
