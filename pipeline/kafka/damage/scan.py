"""Reads part of a partition without librdkafka if a batch of it is damaged: librdkafka 2.16 may abort the process.

Behind a checksum that does not fit it goes on at another byte of the answer, and takes what lies there for a header.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch

from pipeline.config import KafkaConfig
from pipeline.core.trace_context import pick_headers
from pipeline.kafka.damage.batches import Bad, Batch
from pipeline.kafka.damage.raw_log import Piece
from pipeline.kafka.damage.survey import Survey
from pipeline.kafka.damage.transactions import Transactions
from pipeline.kafka.damage.unpacking import bound_unpacking, may_exceed
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord, Place

EVERYTHING = 2**63 - 1


class Damaged(NamedTuple):
    """Records that can be read of a part with bad batches, in order, and its faults."""

    records: list[LogRecord]
    faults: list[ReadFault]


class Scanner:
    """Reads partitions by their bytes, without records of open or aborted transactions. Blocks; for one thread.

    Every call raises `TimeoutError` when Kafka does not answer.
    """

    def __init__(self, config: KafkaConfig, *, reads_traces: bool = False) -> None:
        self._reads_traces = reads_traces
        self._max_bytes = config.batch_unpacked_max_bytes
        bound_unpacking(self._max_bytes)
        self._survey = Survey(config, with_open=False)

    def is_damaged(self, place: Place, begin: int, end: int) -> bool:
        """Is there a batch that cannot be read?"""
        return any(self._is_bad(piece, each) for piece, each in self._survey.each_batch(place, begin, end))

    def find_damaged(self, place: Place, begin: int, bytes_max: int) -> int | None:
        """Find damage in the next `bytes_max` bytes: the offset behind all of it. None: there is none."""
        size, is_damaged, position = 0, False, begin
        for piece, each in self._survey.each_batch(place, begin, EVERYTHING):
            is_damaged = is_damaged or self._is_bad(piece, each)
            position = each.end if each.end is not None else position
            size += each.size if isinstance(each, Batch) else 0
            if size > bytes_max:
                break
        return position if is_damaged else None

    def find_batch_end(self, place: Place, begin: int) -> int | None:
        """Where the next batch ends; None: there is none."""
        return next((each.end for _, each in self._survey.each_batch(place, begin, EVERYTHING)), None)

    def can_serve(self, place: Place, position: int) -> bool:
        """Does the broker find what lies before this offset? If not, it will not find what comes there either."""
        return self._survey.can_serve(place, position)

    def find_bounds(self, place: Place) -> tuple[int, int]:
        """Where the log begins, and where what may be read of it ends."""
        return self._survey.find_bounds(place)

    def read(self, place: Place, begin: int, end: int) -> Iterator[list[LogRecord] | ReadFault]:
        """The records of each batch in turn, or that it cannot be read."""
        transactions, known = Transactions(()), None
        for piece, each in self._survey.each_batch(place, begin, end):
            if piece is not known:
                transactions, known = Transactions(piece.aborted), piece
            if isinstance(each, Bad):
                yield _describe(place, each, end)
                continue
            try:
                batch = DefaultRecordBatch(_cut(piece, each))
                records = unpack(place, batch, transactions, reads_traces=self._reads_traces)
            except Exception as error:  # whatever aiokafka, a decompressor or Cython stumbles over
                reason = str(error) or type(error).__name__
                yield _describe(place, Bad(max(begin, each.begin), each.end, reason), end)
            else:
                yield [record for record in records if begin <= record.offset < end]

    def close(self) -> None:
        self._survey.close()

    def _is_bad(self, piece: Piece, each: Batch | Bad) -> bool:
        if isinstance(each, Bad):
            return True
        if not may_exceed(piece.data, each.at, each.size, self._max_bytes):
            return False
        try:
            list(DefaultRecordBatch(_cut(piece, each)))
        except Exception:  # as in `read`
            return True
        return False


def scan(config: KafkaConfig, parts: Mapping[Place, tuple[int, int]]) -> dict[Place, Damaged]:
    """Which of these have bad batches between two offsets, and what can be read there. Blocks.

    Of an intact part nothing is kept. Raises `TimeoutError` when Kafka does not answer.
    """
    scanner = Scanner(config)
    try:
        return {
            place: _read_all(scanner, place, *part) for place, part in parts.items() if scanner.is_damaged(place, *part)
        }
    finally:
        scanner.close()


def unpack(
    place: Place, batch: DefaultRecordBatch, transactions: Transactions, *, reads_traces: bool
) -> list[LogRecord]:
    """The records of a good batch that a reader gets."""
    if transactions.is_left_out(batch):
        return []
    return [
        LogRecord(
            place[0],
            place[1],
            record.offset,
            record.key,
            record.value,
            record.timestamp * 1000,
            pick_headers(record.headers) if reads_traces else None,
        )
        for record in batch
    ]


def _read_all(scanner: Scanner, place: Place, begin: int, end: int) -> Damaged:
    found = Damaged([], [])
    for each in scanner.read(place, begin, end):
        if isinstance(each, ReadFault):
            found.faults.append(each)
        else:
            found.records.extend(each)
    return found


def _cut(piece: Piece, batch: Batch) -> bytes:
    return piece.data[batch.at : batch.at + batch.size]


def _describe(place: Place, bad: Bad, end: int) -> ReadFault:
    return ReadFault(place, "unreadable", bad.begin, bad.end if bad.end is not None else end, bad.reason)
