"""Faults of partitions and where reading went on: logged, counted, and red in health for ten minutes."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import structlog

from pipeline.kafka.damage.order import Looked
from pipeline.kafka.record import Place
from pipeline.metrics import Metrics

# unreadable: a batch that no client can read. head_lost: the log begins behind our position. tail_lost: it ends before
# our position, or did and has grown again. made_again: another topic of the same name. The two last ones begin anew at
# `end`, which is before `begin`.
Kind = Literal["unreadable", "head_lost", "tail_lost", "made_again"]
UNHEALTHY_S = 600.0

log = structlog.get_logger()


class ReadFault(NamedTuple):
    """Reading of `place` went on at `end` instead of `begin`.

    `lost`: so many offsets that had been read are not in the log any more. `looked`: what a look at the log has shown,
    of one that found nothing wrong.
    """

    place: Place
    kind: Kind
    begin: int
    end: int
    reason: str
    lost: int = 0
    looked: Looked | None = None


class ReadFaults:
    """The faults that a process has met. Touched by one thread; `check` reads a tuple that is replaced as a whole."""

    def __init__(self, metrics: Metrics, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock_s = clock_s
        self._last: tuple[ReadFault, float] | None = None
        self._known: set[tuple[Place, int, int]] = set()  # unreadable ranges
        self._lost_total = 0

    def note(self, fault: ReadFault) -> None:
        """Log and count a fault."""
        topic, partition = fault.place
        self._last = (fault, self._clock_s())
        if self.is_known(fault):
            return  # met again: lost records are counted once
        self._metrics.read_faults_total.labels(topic, fault.kind).inc()
        if fault.kind == "unreadable":
            self._known.add((fault.place, fault.begin, fault.end))
            records = fault.end - fault.begin
            self._lost_total += records
            self._metrics.unreadable_records_total.labels(topic).inc(records)
            log.error(
                "records_unreadable",
                topic=topic,
                partition=partition,
                first_offset=fault.begin,
                last_offset=fault.end - 1,
                records=records,
                reason=fault.reason,
            )
        else:
            self._metrics.lost_offsets_total.labels(topic, "reader").inc(fault.lost)
            log.error(
                "log_changed",
                kind=fault.kind,
                topic=topic,
                partition=partition,
                position=fault.begin,
                begins_at=fault.end,
                lost=fault.lost,
                reason=fault.reason,
            )

    def is_known(self, fault: ReadFault) -> bool:
        """Was this unreadable range logged before?"""
        return fault.kind == "unreadable" and (fault.place, fault.begin, fault.end) in self._known

    def check(self) -> str | None:
        """Health: None, or the last fault, for ten minutes."""
        if self._last is None:
            return None
        fault, at_s = self._last
        if self._clock_s() - at_s > UNHEALTHY_S:
            return None
        topic, partition = fault.place
        if fault.kind == "unreadable":
            return (
                f"offsets {fault.begin} to {fault.end - 1} of {topic} [{partition}] cannot be read: {fault.reason}; "
                f"{self._lost_total} records since the start"
            )
        if fault.kind == "head_lost":
            return (
                f"offsets {fault.begin} to {fault.end - 1} of {topic} [{partition}] were deleted before they were read"
            )
        return f"{topic} [{partition}] was read again from {fault.end}, the position was {fault.begin}: {fault.reason}"
