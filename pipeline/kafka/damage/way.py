"""A reader's way through what its client is not to fetch: is it damaged, and what else is there?"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.config import KafkaConfig
from pipeline.kafka.damage.scan import EVERYTHING, Scanner
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord, Place

# Of one stretch: a batch more at most.
STRETCH_RECORDS = 1000
STRETCH_BYTES = 1024 * 1024


class Stretch(NamedTuple):
    """The next records on a way, and perhaps a fault behind them.

    `is_last`: the way ends here.
    """

    records: list[LogRecord]
    fault: ReadFault | None
    is_last: bool


class Way:
    """A way through one part of a log. Blocks; for one thread."""

    def __init__(self, scanner: Scanner, place: Place, begin: int, end: int) -> None:
        self._scanner = scanner
        self._place = place
        self._position = begin
        self._end = end
        self._batches: Iterator[list[LogRecord] | ReadFault] | None = None

    def read_on(self) -> Stretch:
        """The next stretch. After a `TimeoutError` it may be asked for again."""
        if self._batches is None:
            self._batches = self._scanner.read(self._place, self._position, self._end)
        try:
            return self._read(self._batches)
        except TimeoutError:
            self._batches = None
            raise

    def _read(self, batches: Iterator[list[LogRecord] | ReadFault]) -> Stretch:
        records: list[LogRecord] = []
        fault, size, position = None, 0, self._position
        for each in batches:
            if isinstance(each, ReadFault):
                fault, position = each, each.end
                break
            records += each
            size += sum(len(record.value or b"") for record in each)
            if len(records) >= STRETCH_RECORDS or size >= STRETCH_BYTES:
                position = records[-1].offset + 1
                break
        else:
            position = records[-1].offset + 1 if records else position
            self._batches = None
        self._position = position
        return Stretch(records, fault, is_last=self._is_over(position))

    def _is_over(self, position: int) -> bool:
        """Can the reader's client go on? No, while a damaged header hides the records behind it from the broker."""
        if self._batches is not None and position < self._end:
            return False
        if self._scanner.can_serve(self._place, position):
            return True
        self._batches, self._end = None, EVERYTHING
        return False


class Part(NamedTuple):
    """A part of a log, from `begin`: the position asked about, or the later begin of the log. `way` None: no damage."""

    begin: int
    way: Way | None


class Ways:
    """Blocks; for one thread, in which it is made. Every call raises `TimeoutError` when Kafka does not answer."""

    def __init__(self, config: KafkaConfig, *, reads_traces: bool) -> None:
        self._scanner = Scanner(config, reads_traces=reads_traces)

    def find(self, place: Place, position: int, bytes_max: int, *, is_suspect: bool) -> Part:
        """Must the part from `position` on be read by its bytes? `is_suspect`: at least the first batch."""
        low, _ = self._scanner.find_bounds(place)
        begin = max(position, low)
        end = self._scanner.find_damaged(place, begin, bytes_max)
        if end is None and is_suspect:
            end = self._scanner.find_batch_end(place, begin)
        return Part(begin, Way(self._scanner, place, begin, end) if end is not None else None)

    def close(self) -> None:
        self._scanner.close()
