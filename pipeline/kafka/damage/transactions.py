"""Which batches belong to transactions that came to nothing: a reader of committed records leaves them out."""

from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatch

ABORT_MARKER = b"\x00\x00\x00\x00"  # version and type of a control record


class Transactions:
    """Transactions in one piece of the log, whose batches are shown in their order."""

    def __init__(self, aborted: Sequence[tuple[int, int]]) -> None:
        """`aborted`: producers' ids and first offsets, as the broker tells them."""
        self._coming = sorted(aborted, key=lambda each: each[1], reverse=True)
        self._open: set[int] = set()

    def is_left_out(self, batch: DefaultRecordBatch) -> bool:
        """Does this batch hold nothing for a reader: the mark at a transaction's end, or what was aborted?"""
        while self._coming and self._coming[-1][1] <= batch.base_offset:
            self._open.add(self._coming.pop()[0])
        if batch.is_control_batch:
            if any(record.key[:4] == ABORT_MARKER for record in batch if record.key is not None):
                self._open.discard(batch.producer_id)
            return True
        return bool(batch.is_transactional and batch.producer_id in self._open)
