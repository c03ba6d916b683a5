"""The batches of a fetch, up to the first that is not as it should be: aiokafka would end at it, again and again.

A batch is checked and unpacked as a whole before a record of it is handed on. What is wrong with one that does not fit,
and where reading goes on, is not judged here: the partition is read by the log's bytes from there, see `detours`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import PartitionRecords
from faust.types import TP

from pipeline.kafka.record import LogRecord

LOG_APPEND_TIME = 1  # of an events topic

Hold = Callable[[TP], None]


class Batch:
    """One batch, unpacked. Looks like aiokafka's."""

    __slots__ = ("_records", "base_offset", "is_control_batch", "is_transactional", "next_offset", "producer_id")

    def __init__(self, batch: Any) -> None:
        self.base_offset = batch.base_offset
        self.next_offset = batch.next_offset
        self.producer_id = batch.producer_id
        self.is_control_batch = batch.is_control_batch
        self.is_transactional = batch.is_transactional
        # reads all of them: a fault in one of them shows here
        self._records: Iterator[Any] = iter(list(batch))

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)


class ReadableBatches:
    """Stands in for the raw batches of one fetch of one partition.

    `hold(tp)` is called at the first batch that cannot be read or is not in its place: it is the end of this fetch.
    """

    def __init__(self, fetched: PartitionRecords, hold: Hold, ends: MutableMapping[TP, int]) -> None:
        """`ends`: where the last batch ended that was read of each partition."""
        self._fetched = fetched
        self._raw = deque(_each_raw(fetched._records))  # noqa: SLF001 - this class stands in for it
        self._hold = hold
        self._ends = ends
        # only the first batch, and only where none is known to begin
        self._may_begin_before = fetched.next_fetch_offset != ends.get(fetched._tp)  # noqa: SLF001
        self._next: Batch | None = None
        fetched._records = self  # noqa: SLF001
        fetched._check_crcs = False  # noqa: SLF001 - done here

    def has_next(self) -> bool:
        if self._next is None and self._raw:
            self._next = self._read()
        return self._next is not None

    def next_batch(self) -> Batch | None:
        batch, self._next = self._next, None
        return batch

    def _read(self) -> Batch | None:
        begin, batch = self._fetched.next_fetch_offset, self._raw.popleft()
        following = self._raw[0] if self._raw else None
        may_begin_before, self._may_begin_before = self._may_begin_before, False
        read = unpack(batch) if is_in_place(begin, batch, following, may_begin_before=may_begin_before) else None
        if read is None:
            self._raw.clear()
            self._hold(self._fetched._tp)  # noqa: SLF001
            return None
        self._ends[self._fetched._tp] = read.next_offset  # noqa: SLF001
        return read


class ReadAside:
    """Records that were read by the log's bytes. Stands in for aiokafka's of a fetch (`PartitionRecords`)."""

    def __init__(self, position: int, records: Iterable[LogRecord]) -> None:
        self.next_fetch_offset = position
        self._records = iter(records)

    def __iter__(self) -> Iterator[ConsumerRecord[bytes, bytes]]:
        return self

    def __next__(self) -> ConsumerRecord[bytes, bytes]:
        record = next(self._records)
        self.next_fetch_offset = record.offset + 1
        return ConsumerRecord(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp=record.timestamp_us // 1000,
            timestamp_type=LOG_APPEND_TIME,
            key=record.key,
            value=record.value,
            checksum=None,
            serialized_key_size=len(record.key or b""),
            serialized_value_size=len(record.value or b""),
            headers=record.trace or (),
        )


def is_in_place(begin: int, batch: Any, following: Any, *, may_begin_before: bool) -> bool:
    """Do the offsets of a batch that was fetched from `begin` fit what is around it? They have no checksum.

    `following`: the next batch, if there is one. In a topic that is not compacted there is no gap between two.
    """
    base, end = getattr(batch, "base_offset", None), getattr(batch, "next_offset", None)
    if base is None or end is None or base > begin or end <= begin or (base < begin and not may_begin_before):
        return False
    return bool(getattr(following, "base_offset", end) == end)


def unpack(batch: Any) -> Batch | None:
    """Unpack the records of a batch; None: they cannot be read."""
    try:
        return Batch(batch) if batch.validate_crc() else None
    except Exception:  # whatever aiokafka, a decompressor or Cython stumbles over
        return None


def _each_raw(records: Any) -> Iterator[Any]:
    """Yield the batches of a fetch. One that is not even a header is the error that it led to, and the last."""
    try:
        while records.has_next():
            yield records.next_batch()
    except Exception as error:
        yield error


def stand_in(fetcher: Any, hold: Hold, ends: MutableMapping[TP, int]) -> None:
    """Let `ReadableBatches` stand in for what `fetcher` (aiokafka's) has fetched and handed nothing on of."""
    for fetched in fetcher._records.values():  # noqa: SLF001
        records = getattr(fetched, "_partition_records", None)  # an error has none
        if isinstance(records, PartitionRecords) and not isinstance(records._records, ReadableBatches):  # noqa: SLF001
            ReadableBatches(records, hold, ends)
