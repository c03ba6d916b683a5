"""Records read and not matched yet, taken in turns by application.

In the order of the log, an application that sends 10,000 events at once would hold up all others of its partition, and
those of the other partitions that this process reads. So would one whose events take long to match: turns are of time
as well as of records. Within an application the order stays.
"""

from collections import OrderedDict, deque

from pipeline.core.log.watermark import Watermark
from pipeline.kafka.record import Place
from pipeline.matcher.matching import EventRecord

# In one turn of an application: a millisecond's work where each event matches one subscription.
TURN_RECORDS = 10
TURN_S = 0.001  # records of subscriptions with costly filters take a hundred times as long: then fewer are in a turn
DEBTS_MAX = 10_000  # applications
# Records that are matched before older ones, at most. They are matched again after a restart; a deliver that was killed
# as well knows a thousand attempts of each partition from before its own commit (see `Ledger`).
OVERTAKING_MAX = 1000
# The same while the oldest is of an application that owes time: a thousand of its events may take minutes.
COSTLY_OVERTAKING_MAX = 10_000


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
        self._turn_key: bytes | None = None
        self._turn_left = 0
        self._debts_s: dict[bytes | None, float] = {}
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

    def take(self) -> Waiting | None:
        """The next record: the applications take turns. While too many overtook the oldest, its has one."""
        if not self._waiting:
            return None
        if not self._turn_left or self._turn_key not in self._by_application:
            self._begin_turn()
        self._turn_left -= 1
        return self._pop(self._turn_key)

    def charge(self, key: bytes | None, spent_s: float) -> None:
        """An application's record took so long. Turns that its next ones would have are others' until that is paid."""
        debt_s = self._debts_s.get(key, 0.0) + spent_s
        self._debts_s[key] = debt_s
        if debt_s > TURN_S and key == self._turn_key:
            self._turn_left = 0
        if len(self._debts_s) > DEBTS_MAX:
            self._debts_s.clear()

    def take_overtaken(self) -> "ReadAhead":
        """Take out those that records of their partition read later overtook, the oldest if they are many; forget the
        others.

        Matched as well, they leave nothing that a restart would match again.
        """
        last_taken = {_place(waiting): number for number, waiting in enumerate(self._in_order) if waiting.is_taken}
        overtaken = ReadAhead()
        for number, waiting in enumerate(self._in_order):
            if not waiting.is_taken and number < last_taken.get(_place(waiting), 0):
                overtaken.add(waiting)
                if len(overtaken) == OVERTAKING_MAX:
                    break
        self.clear()
        return overtaken

    def clear(self) -> None:
        """Forget everything that waits."""
        self._by_application.clear()
        self._in_order.clear()
        self._waiting = self._turn_left = self.size_bytes = 0

    def _begin_turn(self) -> None:
        oldest = self._in_order[0].record.key
        overtaking_max = COSTLY_OVERTAKING_MAX if self._debts_s.get(oldest, 0.0) > TURN_S else OVERTAKING_MAX
        is_overtaken = len(self._in_order) - self._waiting >= overtaking_max
        self._turn_key = oldest if is_overtaken else self._choose()
        self._by_application.move_to_end(self._turn_key)
        self._turn_left = TURN_RECORDS

    def _choose(self) -> bytes | None:
        """The next application without debt. If all have one: that with the least, which is deducted from all."""
        for _ in range(len(self._by_application)):
            key = next(iter(self._by_application))
            debt_s = self._debts_s.pop(key, 0.0) - TURN_S
            if debt_s > 0:
                self._debts_s[key] = debt_s
                self._by_application.move_to_end(key)
            else:
                return key
        least = min(self._by_application, key=self._debts_s.__getitem__)
        paid_s = self._debts_s[least]
        self._debts_s = {key: debt_s - paid_s for key, debt_s in self._debts_s.items() if debt_s > paid_s}
        return least

    def _pop(self, key: bytes | None) -> Waiting:
        records = self._by_application[key]
        waiting = records.popleft()
        waiting.is_taken = True
        self.size_bytes -= waiting.size_bytes
        self._waiting -= 1
        if not records:
            del self._by_application[key]
        in_order = self._in_order
        while in_order and in_order[0].is_taken:
            in_order.popleft()
        return waiting


def _place(waiting: Waiting) -> Place:
    return waiting.record.topic, waiting.record.partition
