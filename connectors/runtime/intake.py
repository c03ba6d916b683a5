"""Records as they come from the consumer: each into its partition's watermark, and on into the flow."""

from collections.abc import Callable, Container, Sequence

from connectors.runtime.flow import Flow
from connectors.runtime.owned import Owned
from connectors.runtime.positions import Positions
from connectors.sink import LogRecord
from pipeline.core.events.records import is_probe


class Intake:
    """Takes records in."""

    def __init__(
        self,
        owned: Owned,
        flow: Flow,
        positions: Positions,
        *,
        lead_names: Container[str],
        skips_probes: bool,
        release: Callable[[LogRecord], None],
        fail: Callable[[BaseException], None],
        clock_us: Callable[[], int],
    ) -> None:
        """`lead_names`: topics whose records are new, not parked before; `release`, `fail`: see `Flow`."""
        self._owned = owned
        self._flow = flow
        self._positions = positions
        self._lead_names = lead_names
        self._skips_probes = skips_probes
        self._release = release
        self._fail = fail
        self._clock_us = clock_us

    def receive(self, records: Sequence[LogRecord]) -> None:
        """Take a batch in, then start what may start."""
        now_us = self._clock_us()
        try:
            for record in records:
                self._take(record, now_us)
            self._flow.start()
        except Exception as error:
            self._fail(error)

    def _take(self, record: LogRecord, now_us: int) -> None:
        partition = self._owned.find((record.topic, record.partition))
        if partition is None:
            # read before a rebalance: its next owner reads it again
            self._release(record)
            return
        expected = partition.mark.next_offset
        if record.offset > expected:
            self._positions.note_gap(partition.place, expected, record.offset)
        partition.age.note(record.offset, record.timestamp_us)
        if record.topic in self._lead_names:
            self._flow.parked_pace.note(now_us - record.timestamp_us)
            self._flow.returns.note_new(now_us - record.timestamp_us)
        if not partition.mark.take(record.offset):
            # settled before the last commit, as its note says
            self._release(record)
            return
        if self._flow.is_stopping:
            # it stays unsettled: its next owner reads it again, wherever the log may be known to go on
            self._release(record)
            return
        if self._skips_probes and is_probe(record.value):
            partition.mark.settle(record.offset)
            self._release(record)
            return
        self._flow.admit(record, partition, now_us)
