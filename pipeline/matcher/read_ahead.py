"""Records read and not matched yet, taken in turns by application.

In the order of the log, an application that sends 10,000 events at once would hold up all others of its partition, and
those of the other partitions that this process reads. Within an application the order stays.
"""

from collections import OrderedDict, deque

from pipeline.core.log.watermark import Watermark
from pipeline.matcher.matching import EventRecord

# In one turn of an application: a millisecond's work where each event matches one subscription.
TURN_RECORDS = 10
# Records that are matched before older ones, at most. They are matched again after a restart; a deliver that was killed
# as well knows a thousand attempts of each partition from before its own commit (see `Ledger`).
OVERTAKING_MAX = 1000


class Waiting:
    """A record, and the mark that it is settled in; None: nothing is committed of it."""

    __slots__ = ("is_taken", "mark", "record", "size_bytes")

    def __init__(self, record: EventRecord, mark: Watermark | None) -> None:
        self.record = record
        self.mark = mark
        self.size_bytes = len(record.value or b"")
        self.is_taken = False


class ReadAhead:
    """Records that wait, by application, and in the order they were read."""

    def __init__(self) -> None:
        self._by_application: OrderedDict[bytes | None, deque[Waiting]] = OrderedDict()
        self._in_order: deque[Waiting] = deque()  # those that were taken stay until all before them are
        self._waiting = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        """Records that wait."""
        return self._waiting

    def add(self, waiting: Waiting) -> None:
        """A record was read, behind all others."""
        records = self._by_application.get(waiting.record.key)
        if records is None:
            records = self._by_application[waiting.record.key] = deque()
        records.append(waiting)
        self._in_order.append(waiting)
        self._waiting += 1
        self.size_bytes += waiting.size_bytes

    def take(self, records_max: int) -> list[Waiting]:
        """The next ones, at most so many: the applications take turns. While too many overtook the oldest, its has."""
        taken: list[Waiting] = []
        while self._waiting and len(taken) < records_max:
            if len(self._in_order) - self._waiting < OVERTAKING_MAX:
                key = next(iter(self._by_application))
            else:
                key = self._in_order[0].record.key
            self._take_turn(key, min(TURN_RECORDS, records_max - len(taken)), taken)
        return taken

    def clear(self) -> None:
        """Forget everything that waits."""
        self._by_application.clear()
        self._in_order.clear()
        self._waiting = self.size_bytes = 0

    def _take_turn(self, key: bytes | None, records_max: int, taken: list[Waiting]) -> None:
        records = self._by_application[key]
        for _ in range(min(records_max, len(records))):
            waiting = records.popleft()
            waiting.is_taken = True
            self.size_bytes -= waiting.size_bytes
            self._waiting -= 1
            taken.append(waiting)
        if records:
            self._by_application.move_to_end(key)
        else:
            del self._by_application[key]
        in_order = self._in_order
        while in_order and in_order[0].is_taken:
            in_order.popleft()
