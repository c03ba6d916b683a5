"""The batches of a fetch, without those that cannot be read: aiokafka would end at the first one, again and again.

A batch is checked and unpacked as a whole before a record of it is handed on, so that a bad one is stepped over by its
header, which says where it ends. A damaged header is not believed, see `choose_end`.
"""

from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
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
        # reads all of them: a fault in one of them shows here
        self._records: Iterator[Any] = iter(list(batch))

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)


class ReadableBatches:
    """Stands in for the raw batches of one fetch of one partition.

    `note(tp, first offset, one past the last, why)` is called for each batch that is stepped over.
    """

    def __init__(
        self, fetched: PartitionRecords, note: Note, log_end: int | None, ends: MutableMapping[TP, int]
    ) -> None:
        """`log_end`: where the log ended when this was fetched; None: not known.

        `ends`: where the last batch ended that was read of each partition. None begins before that.
        """
        self._fetched = fetched
        self._raw = deque(_each_raw(fetched._records))  # noqa: SLF001 - this class stands in for it
        self._note = note
        self._log_end = log_end
        self._ends = ends
        self._is_first_of_all = True
        self._is_first = fetched.next_fetch_offset != ends.get(fetched._tp)  # noqa: SLF001
        self._next: Batch | None = None
        fetched._records = self  # noqa: SLF001
        fetched._check_crcs = False  # noqa: SLF001 - done here

    def has_next(self) -> bool:
        while self._next is None and self._raw:
            self._next = self._read()
        return self._next is not None

    def next_batch(self) -> Batch | None:
        batch, self._next = self._next, None
        return batch

    def _read(self) -> Batch | None:
        begin, batch = self._fetched.next_fetch_offset, self._raw.popleft()
        following = self._raw[0] if self._raw else None
        is_first, self._is_first = self._is_first, False
        is_first_of_all, self._is_first_of_all = self._is_first_of_all, False
        if isinstance(batch, Exception):  # bytes of which not even the header can be read
            self._step_over(begin, begin + 1, batch)
            return None
        end = choose_end(begin, batch, following, self._log_end, is_first=is_first)
        try:
            if not batch.validate_crc():
                if following is not None and begin < (following_begin := getattr(following, "base_offset", end)):
                    end = min(end, following_begin)
                raise ValueError("its checksum does not fit")
            if not hasattr(batch, "base_offset"):
                raise ValueError("it is of a form that Kafka 4 does not write")
            if end != batch.next_offset:
                raise ValueError(f"it claims offsets {batch.base_offset} to {batch.next_offset - 1}")
            read = Batch(batch)
            if is_first_of_all and begin < batch.base_offset:
                # there is no gap in a topic that is not compacted: a damaged header has misled the broker
                reason = "the broker does not find them"
                self._note(self._fetched._tp, begin, batch.base_offset, reason)  # noqa: SLF001
        except Exception as error:  # whatever aiokafka, a decompressor or Cython stumbles over
            is_believed = end == getattr(batch, "next_offset", None)
            self._step_over(max(begin, batch.base_offset) if is_believed else begin, end, error)
            return None
        self._ends[self._fetched._tp] = end  # noqa: SLF001
        return read

    def _step_over(self, begin: int, end: int, error: Exception) -> None:
        if begin < end:
            self._note(self._fetched._tp, begin, end, str(error) or type(error).__name__)  # noqa: SLF001
        self._fetched.next_fetch_offset = end


def choose_end(begin: int, batch: Any, following: Any, log_end: int | None, *, is_first: bool) -> int:
    """Where to go on behind a batch that was fetched from offset `begin`: its own end, if its offsets can be right.

    `following`: the next batch, None if there is none or it cannot be read. `is_first`: of a fetch, and it is not known
    that a batch begins there; only that one may begin before `begin`.
    """
    following_begin = getattr(following, "base_offset", None)
    behind = following_begin if following_begin is not None and begin < following_begin else begin + BATCH_RECORDS_MAX
    if not hasattr(batch, "base_offset") or not 0 <= batch.last_offset_delta < BATCH_RECORDS_MAX:
        return begin + 1 if following_begin is None else int(min(behind, begin + BATCH_RECORDS_MAX))
    base, end = batch.base_offset, batch.next_offset
    # between two batches of a topic that is not compacted there is no gap
    is_too_low = not is_first or (following_begin is not None and end < following_begin)
    is_back = end <= begin or (base < begin and is_too_low)
    is_ahead = base > begin and (
        (following_begin is not None and begin <= following_begin < end) or (log_end is not None and end > log_end)
    )
    if not is_back and not is_ahead:
        return int(end)
    # as many offsets as it has, in the place where it lies
    return int(min(begin + batch.last_offset_delta + 1, behind, log_end if log_end is not None else behind))


def _each_raw(records: Any) -> Iterator[Any]:
    """Its batches. One that is not even a header is the error that it led to, and the last."""
    try:
        while records.has_next():
            yield records.next_batch()
    except Exception as error:
        yield error


def stand_in(fetcher: Any, note: Note, ends: MutableMapping[TP, int]) -> None:
    """Let `ReadableBatches` stand in for what `fetcher` (aiokafka's) has fetched and handed nothing on of."""
    for fetched in fetcher._records.values():  # noqa: SLF001
        records = getattr(fetched, "_partition_records", None)  # an error has none
        if records is not None and not isinstance(records._records, ReadableBatches):  # noqa: SLF001
            ReadableBatches(records, note, find_log_end(fetcher, records._tp), ends)  # noqa: SLF001


def find_log_end(fetcher: Any, tp: TP) -> int | None:
    """Where the log ended at the last fetch; None: the partition went away."""
    assignment = fetcher._subscriptions.subscription.assignment  # noqa: SLF001
    state = assignment.state_value(tp) if assignment is not None else None
    return state.highwater if state is not None else None
