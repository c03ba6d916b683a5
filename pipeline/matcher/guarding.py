"""Guards the matcher's log: records changed behind the position, damaged at it, or deleted unread."""

import asyncio
from collections.abc import Mapping, Sequence

import faust
import structlog
from faust.types import TP

from pipeline.kafka.log_guard import LogGuard, RecordTime
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import Place
from pipeline.matcher.consumer import Consumer, consumer_of
from pipeline.matcher.intake import Intake
from pipeline.matcher.progress import Progress
from pipeline.matcher.stalls import Stalls
from pipeline.metrics import Metrics

GUARD_INTERVAL_S = 2.0

log = structlog.get_logger()


async def guard_log(
    app: faust.App,
    guard: LogGuard,
    stalls: Stalls,
    intake: Intake,
    progress: Progress,
    ready: asyncio.Event,
    metrics: Metrics,
) -> None:
    """Runs for ever: go back to where the log was cut off, or to the beginning of another one; go on behind damage.

    Whenever that was. Repeats are dropped by their ids.
    """
    await ready.wait()
    while True:
        consumer, assignment = consumer_of(app), progress.assignment
        positions = await list_positions(consumer)
        reads = {tp: set(each) for tp, each in consumer.reading.reads.items()}
        finding = await guard.look(positions, list_reads(consumer))
        metrics.open_transaction_offsets.clear()
        for place, offsets in guard.held.items():
            metrics.open_transaction_offsets.labels(*place).set(offsets)
        # Else of partitions that were taken away meanwhile, or that Faust is about to send to their commits: where this
        # sent them would not count.
        if assignment == progress.assignment and consumer.flow_active:
            guard.accept(finding)
            if finding.reached:
                consumer.reading.drop_reads(reads)
            faults = [fault for fault in finding.faults if not is_met(fault, consumer)]
            if faults or finding.doubts:
                await go_back(consumer, intake, progress, faults, finding.doubts, metrics)
        reached = {(tp.topic, tp.partition): position for tp, position in consumer.list_positions().items()}
        for place in stalls.list_places(reached, finding.ends):
            if not consumer.has_fetched(TP(*place)):
                consumer.hold(TP(*place))
        await asyncio.sleep(GUARD_INTERVAL_S)


def list_reads(consumer: Consumer) -> Mapping[Place, Sequence[RecordTime]]:
    return {
        (tp.topic, tp.partition): [RecordTime(*each) for each in reads] for tp, reads in consumer.reading.reads.items()
    }


async def list_positions(consumer: Consumer) -> Mapping[Place, int]:
    fetched = consumer.reading.positions()
    return {
        (tp.topic, tp.partition): fetched[tp] if tp in fetched else await consumer.position(tp) or 0
        for tp in consumer.assignment()
    }


async def go_back(
    consumer: Consumer,
    intake: Intake,
    progress: Progress,
    faults: list[ReadFault],
    doubts: Mapping[Place, int],
    metrics: Metrics,
) -> None:
    """Forget records under way without a commit: their offsets mean other records now.

    Of the other partitions it is read again from their marks.
    """
    # No turn of the loop lies between this and the last `rewind` (a seek only notes the offset): records that come in
    # between would be committed past those dropped.
    marks = {tp: progress.settled(tp) for tp in consumer.assignment()}
    intake.restart()
    for tp, offset in marks.items():
        doubt = doubts.get((tp.topic, tp.partition))
        if doubt is not None:
            log.info("read_again", topic=tp.topic, partition=tp.partition, begins_at=doubt)
            await consumer.rewind(tp, doubt if offset is None else min(doubt, offset))
        elif offset is not None and (tp.topic, tp.partition) not in {fault.place for fault in faults}:
            await consumer.rewind(tp, offset)
    for fault in faults:
        tp = TP(*fault.place)
        consumer.faults.note(fault)
        if fault.kind == "head_lost":
            tell_missing(tp, fault.end - fault.begin, metrics)
        await consumer.rewind(tp, choose_begin(fault, marks.get(tp)))


def choose_begin(fault: ReadFault, settled: int | None) -> int:
    """Where reading goes on. Records before a cut are the same as ever: those that were under way are read again."""
    return fault.end if fault.kind != "tail_lost" or settled is None else min(fault.end, settled)


def is_met(fault: ReadFault, consumer: Consumer) -> bool:
    """Has the reader itself come upon it: a head that is gone, and it has read on behind it?"""
    return fault.kind == "head_lost" and (consumer.reading.next_offset(TP(*fault.place)) or 0) > fault.end


async def count_missing(consumer: Consumer, metrics: Metrics) -> None:
    """Tell of records that were gone before they could be read: never silently."""
    gaps = consumer.reading.list_gaps()
    if not gaps:
        return
    starts = await consumer.earliest_offsets(*{gap.tp for gap in gaps})
    for tp, records in consumer.reading.count_missing(starts).items():
        end = starts[tp]
        consumer.faults.note(ReadFault((tp.topic, tp.partition), "head_lost", end - records, end, "deleted unread"))
        tell_missing(tp, records, metrics)


def tell_missing(tp: TP, records: int, metrics: Metrics) -> None:
    """Report records that were deleted before they were read."""
    metrics.missing_total.labels(tp.topic).inc(records)
    log.error("records_missing", topic=tp.topic, partition=tp.partition, records=records)
