"""The archive's open deliveries that the log still holds, and the records in gaps between archived events.

Blocks: call it in a thread.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from pipeline.config import KafkaConfig
from pipeline.core.events.bundle import read_deliveries
from pipeline.core.events.event import Unreadable
from pipeline.core.events.records import Event, is_probe
from pipeline.core.log.account import Account
from pipeline.kafka.event_records import read_event
from pipeline.kafka.read_faults import ReadFault
from pipeline.kafka.record import LogRecord, Place
from pipeline.kafka.settled import Settled, read_bounds
from pipeline.kafka.tail import Bounds, each_record
from pipeline.postgres.archive.tables import day_of
from pipeline.topics import Topics
from schemas import SchemaError

Gap = tuple[int, int, int]  # partition, first offset, one past the last
# Gaps nearer than this are read in one go: seeking costs more than reading so many records.
GAP_MERGE_RECORDS = 2_000
GAP_READS_MAX = 200
GAP_RECORDS_MAX = 500_000


class Wanted(NamedTuple):
    """A delivery that has not ended. `event_place`: partition and offset of its event, None: not known."""

    account: Account
    application_id: str
    event_place: tuple[int, int] | None


def find_open(
    config: KafkaConfig,
    topics: Topics,
    settled: Mapping[Place, Settled],
    wanted: MutableMapping[bytes, Wanted],
) -> int:
    """Take each delivery that has a record the group has not settled out of `wanted` (by delivery id), and count it in
    its account as pending or parked. How many records were read.

    Reads to the ends as they are now: later than `settled`, and than the snapshot `wanted` comes from.
    """
    read = 0
    ends = read_bounds(config, [topics.deliveries, *topics.retries])
    for topic in (topics.deliveries, *topics.retries):
        ranges = {
            partition: (settled[topic.name, partition].offset, ends[topic.name, partition][1])
            for partition in range(topic.partitions)
        }
        for record in each_record(config, topic, ranges):
            read += 1
            if settled[record.place].has(record.offset):
                continue
            try:
                deliveries = read_deliveries(record.value or b"")
            except SchemaError:
                continue  # deliver makes a dead letter of it, or it is a probe
            for delivery in deliveries:
                found = wanted.pop(bytes.fromhex(delivery.delivery_id.replace("-", "")), None)
                if found is None:
                    continue
                # as the sink ranks them: what was due when it was put into a tier waits for capacity
                if topic.delay_s and delivery.due_at_us <= record.timestamp_us:
                    found.account.parked += 1
                else:
                    found.account.pending += 1
    return read


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A record in a gap that is an event, or (`event_id` None) cannot be read as one."""

    application_id: str | None
    event_id: str | None
    partition: int
    offset: int


def read_gaps(
    config: KafkaConfig, topics: Topics, gaps: Sequence[Gap], *, first_day: date | None
) -> tuple[list[LogEvent], int]:
    """The events in `gaps`, and how many offsets were left out: there were too many, or the log has them no more.

    `first_day`: the archive's first; of older days nothing is expected.
    """
    found = []
    left_out = 0
    budget = GAP_RECORDS_MAX
    for number, (partition, ranges) in enumerate(merge_gaps(gaps)):
        span: Bounds = (ranges[0][0], ranges[-1][1])
        if number >= GAP_READS_MAX or budget < span[1] - span[0]:
            left_out += sum(end - first for first, end in ranges)
            continue
        budget -= span[1] - span[0]
        faults: list[ReadFault] = []
        for record in each_record(config, topics.events, {partition: span}, note=faults.append):
            if not _is_in(record.offset, ranges):
                continue
            if first_day is not None and day_of(record.timestamp_us) < first_day:
                continue
            event = read_log_event(record)
            if event is not None:
                found.append(event)
        # records damaged on a broker's disk were accepted, and cannot be read any more
        damaged = [offset for fault in faults for offset in range(fault.begin, min(fault.end, span[1]))]
        found += [LogEvent(None, None, partition, offset) for offset in damaged if _is_in(offset, ranges)]
    return found, left_out


def _is_in(offset: int, ranges: Sequence[Bounds]) -> bool:
    return any(first <= offset < end for first, end in ranges)


def merge_gaps(gaps: Sequence[Gap]) -> Iterator[tuple[int, list[Bounds]]]:
    """Merge neighbouring gaps, by partition."""
    group: list[Bounds] = []
    of_partition = -1
    for partition, first, end in gaps:
        if group and (partition != of_partition or first - group[-1][1] > GAP_MERGE_RECORDS):
            yield of_partition, group
            group = []
        of_partition = partition
        group.append((first, end))
    if group:
        yield of_partition, group


def read_log_event(record: LogRecord) -> LogEvent | None:
    """The event that a record of the events topic counts as; None: it is none, and no unreadable one."""
    if is_probe(record.value):
        return None
    event = read_event(record)
    match event:
        case Event():
            return LogEvent(event.application_id, event.event_id, record.partition, record.offset)
        case Unreadable():
            return LogEvent(event.application_id, None, record.partition, record.offset)
        case _:
            return None
