"""The log has changed: records missing or unreadable, a tail cut off, a topic made again."""

import structlog

from connectors.runtime.commits import Commits
from connectors.runtime.owned import Owned
from connectors.runtime.partition import Partition
from connectors.runtime.positions import Positions
from connectors.sink import Place
from pipeline.core.log.watermark import Watermark
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.metrics import Metrics

log = structlog.get_logger()


class LogChanges:
    """Moves watermarks past unreadable records, and back to the beginning of a log that has begun anew."""

    def __init__(
        self,
        owned: Owned,
        commits: Commits,
        positions: Positions,
        *,
        faults: ReadFaults,
        metrics: Metrics,
    ) -> None:
        self._owned = owned
        self._commits = commits
        self._positions = positions
        self._faults = faults
        self._metrics = metrics

    def began_anew(self, fault: ReadFault) -> None:
        self._faults.note(fault)

    def reached(self, place: Place, offset: int) -> None:
        partition = self._owned.find(place)
        if partition is not None and offset > partition.mark.next_offset:
            self._positions.note_gap(place, partition.mark.next_offset, offset)
            partition.mark.skip_to(offset)

    def met(self, fault: ReadFault) -> None:
        self._faults.note(fault)
        partition = self._owned.find(fault.place)
        if partition is None:
            return
        expected = partition.mark.next_offset
        match fault.kind:
            case "unreadable":
                self._positions.note_gap(fault.place, expected, fault.end)
                partition.mark.skip_to(fault.end)
            case "head_lost":
                self.missing(fault.place, fault.end - expected)
                self._positions.note_vacant(fault.place, expected, fault.end)
                partition.mark.skip_to(fault.end)
            case "tail_lost" | "made_again":
                # Open records of the old log settle the old marks: the same offsets mean other records now.
                self._owned.set(Partition(fault.place, Watermark(fault.end), before=partition))
                self._positions.set_back(fault.place, fault.end)
                self._commits.forget(fault.place)

    def missing(self, place: Place, records: int) -> None:
        topic, partition = place
        self._metrics.missing_total.labels(topic).inc(records)
        log.error("records_missing", topic=topic, partition=partition, records=records)
