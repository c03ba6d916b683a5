"""The batches of a fetch, without those that cannot be read: aiokafka would end at the first one, again and again.

A batch is checked and unpacked as a whole before a record of it is handed on, so that a bad one is stepped over by its
header, which says where it ends. Its own header may be what is damaged: then it is not believed, see `choose_end`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from aiokafka.consumer.fetcher import PartitionRecords
from faust.types import TP

# A batch that claims more than this is damaged: producers' own limits are thousands.
BATCH_RECORDS_MAX = 10_000_000

Note = Callable[[TP, int, int, str], None]


class Batch:
    """One batch, unpacked. Looks like aiokafka's."""

    __slots__ = ("_records", "base_offset", "is_control_batch", "is_transactional", "next_offset", "producer_id")

    def __init__(self, batch: Any) -> None:
        self.base_offset = batch.base_offset
        self.next_offset = batch.next_offset
        self.producer_id = batch.producer_id
        self.is_control_batch = batch.is_control_batch
        self.is_transactional = batch.is_transactional
        # reads all of them: what is wrong with one of them shows here
        self._records: Iterator[Any] = iter(list(batch))

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)


class ReadableBatches:
    """Stands in for the raw batches of one fetch of one partition.

    `note(tp, first offset, one past the last, why)` is called for each batch that is stepped over.
    """

    def __init__(self, fetched: PartitionRecords, note: Note) -> None:
        self._fetched = fetched
        self._raw = fetched._records  # noqa: SLF001 - this is what is stood in for
        self._note = note
        self._next: Batch | None = None
        fetched._records = self  # noqa: SLF001
        fetched._check_crcs = False  # noqa: SLF001 - done here

    def has_next(self) -> bool:
        while self._next is None and self._raw.has_next():
            self._next = self._read()
        return self._next is not None

    def next_batch(self) -> Batch | None:
        batch, self._next = self._next, None
        return batch

    def _read(self) -> Batch | None:
        begin = self._fetched.next_fetch_offset
        try:
            batch = self._raw.next_batch()
        except Exception as error:  # bytes of which not even the header can be read
            self._step_over(begin, begin + 1, error)
            return None
        end = choose_end(begin, batch)
        try:
            if not batch.validate_crc():
                raise ValueError("its checksum does not fit")
            if not hasattr(batch, "base_offset"):
                raise ValueError("it is of a form that Kafka 4 does not write")
            if end != batch.next_offset:
                raise ValueError(f"it claims offsets {batch.base_offset} to {batch.next_offset - 1}")
            return Batch(batch)
        except Exception as error:  # whatever aiokafka, a decompressor or Cython stumbles over
            base_offset = getattr(batch, "base_offset", begin)
            self._step_over(base_offset if begin <= base_offset < end else begin, end, error)
            return None

    def _step_over(self, begin: int, end: int, error: Exception) -> None:
        self._note(self._fetched._tp, begin, end, str(error) or type(error).__name__)  # noqa: SLF001
        self._fetched.next_fetch_offset = end


def choose_end(begin: int, batch: Any) -> int:
    """Where to go on behind a batch that was fetched from offset `begin`. One further if its header cannot be right."""
    is_likely = (
        batch.base_offset <= begin + BATCH_RECORDS_MAX and begin < batch.next_offset <= begin + BATCH_RECORDS_MAX
    )
    return int(batch.next_offset) if is_likely and batch.last_offset_delta >= 0 else begin + 1


def stand_in(fetcher: Any, note: Note) -> None:
    """Let `ReadableBatches` stand in for what `fetcher` (aiokafka's) has fetched and handed nothing on of."""
    for fetched in fetcher._records.values():  # noqa: SLF001
        records = getattr(fetched, "_partition_records", None)  # an error has none
        if records is not None and not isinstance(records._records, ReadableBatches):  # noqa: SLF001
            ReadableBatches(records, note)
