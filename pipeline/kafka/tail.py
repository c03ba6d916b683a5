"""Reading a part of a topic once, outside of any group: the end of its partitions, or given ranges."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.options import view_options
from pipeline.kafka.partition_bounds import find_partition_bounds
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import LogRecord
from pipeline.kafka.stepping import Stepper
from pipeline.start_error import StartError
from pipeline.topics import Topic

SILENCE_MAX_S = 30.0

Bounds = tuple[int, int]  # first offset, one past the last
Note = Callable[[ReadFault], None]


def read_tail(
    config: KafkaConfig, topic: Topic, starts: Mapping[int, int], *, records_max: int, faults: ReadFaults | None = None
) -> tuple[list[LogRecord], dict[int, int]]:
    """All records of each partition from its start offset to its present end, at most the last `records_max` of each.

    Returns them and the ends. Blocks: call it in a thread. Raises `StartError` when Kafka does not answer.
    """
    bounds: dict[int, Bounds] = {}

    def find_bounds(partition: int, low: int, end: int) -> Bounds:
        start = starts[partition]
        if start > end:
            start = low  # the log has lost its end: its remaining records may all be new
        bounds[partition] = (max(start, low, end - records_max), end)
        return bounds[partition]

    note = faults.note if faults is not None else None
    records = list(_each_record(config, topic, list(starts), find_bounds, note))
    return records, {partition: end for partition, (_, end) in bounds.items()}


def each_record(
    config: KafkaConfig, topic: Topic, ranges: Mapping[int, Bounds], *, note: Note | None = None
) -> Iterator[LogRecord]:
    """Records of each partition from the first offset of its range to before its end, as far as the log has them.

    In the order of the log within a partition. Memory is what the client holds, whatever the range. `note` is told of
    what cannot be read. Blocks, and raises `StartError`, as `read_tail` does.
    """

    def find_bounds(partition: int, low: int, end: int) -> Bounds:
        return max(ranges[partition][0], low), min(ranges[partition][1], end)

    for record in _each_record(config, topic, list(ranges), find_bounds, note):
        if record.offset < ranges[record.partition][1]:
            yield record


def _each_record(
    config: KafkaConfig,
    topic: Topic,
    partitions: Iterable[int],
    find_bounds: Callable[[int, int, int], Bounds],
    note: Note | None,
) -> Iterator[LogRecord]:
    consumer = Consumer(view_options(config), logger=None)
    stepper = Stepper(config, consumer)
    try:
        ends: dict[int, int] = {}
        assignment = []
        for partition in partitions:
            first, end = find_bounds(partition, *find_partition_bounds(consumer, topic.name, partition))
            if first < end:
                ends[partition] = end
                assignment.append(TopicPartition(topic.name, partition, first))
        consumer.assign(assignment)
        stepper.begin(assignment)
        yield from _read_to(consumer, stepper, topic, note, ends)
    except KafkaException as error:
        raise StartError(f"cannot read the end of topic {topic.name}: {error.args[0].str()}") from error
    finally:
        stepper.close()
        consumer.close()


def _read_to(
    consumer: Consumer, stepper: Stepper, topic: Topic, note: Note | None, ends: dict[int, int]
) -> Iterator[LogRecord]:
    quiet_since_s = time.monotonic()
    while ends:
        messages = consumer.consume(1000, 0.05)
        stepper.start_batch()
        for message in messages:
            if not stepper.take(message):
                fault = stepper.recover(message)
                if fault is not None and note is not None:
                    note(fault)
                continue
            quiet_since_s = time.monotonic()
            partition, offset = message.partition() or 0, message.offset() or 0
            yield LogRecord(
                topic.name, partition, offset, message.key(), message.value(), message.timestamp()[1] * 1000
            )
        # position() also knows of records that are not handed out
        for place in consumer.position([TopicPartition(topic.name, partition) for partition in ends]):
            # behind a batch that was stepped over there is no position until there is something to read
            if max(place.offset, stepper.reached((topic.name, place.partition))) >= ends[place.partition]:
                del ends[place.partition]
                consumer.incremental_unassign([TopicPartition(topic.name, place.partition)])
        if ends and time.monotonic() - quiet_since_s > SILENCE_MAX_S:
            raise StartError(f"topic {topic.name} does not answer")
