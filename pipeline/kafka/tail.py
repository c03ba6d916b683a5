"""Reading a part of a topic once, outside of any group: the end of its partitions, or given ranges.

By the log's bytes: what cannot be read of it is stepped over, and no client can stand still or end the process at it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.config import KafkaConfig
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.read_faults import ReadFault, ReadFaults
from pipeline.kafka.record import LogRecord
from pipeline.start_error import StartError
from pipeline.topics import Topic

if TYPE_CHECKING:
    from pipeline.kafka.damage.scan import Scanner

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

    In the order of the log within a partition. Memory is what a batch comes to, whatever the range. `note` is told of
    what cannot be read. Blocks, and raises `StartError`, as `read_tail` does.
    """

    def find_bounds(partition: int, low: int, end: int) -> Bounds:
        return max(ranges[partition][0], low), min(ranges[partition][1], end)

    return _each_record(config, topic, list(ranges), find_bounds, note)


def _each_record(
    config: KafkaConfig,
    topic: Topic,
    partitions: list[int],
    find_bounds: Callable[[int, int, int], Bounds],
    note: Note | None,
) -> Iterator[LogRecord]:
    if not partitions:
        return
    from pipeline.kafka.damage.scan import Scanner  # aiokafka takes 0.3 s to import

    scanner = Scanner(config)
    try:
        for partition in partitions:
            place = (topic.name, partition)
            yield from _read(scanner, topic.name, partition, find_bounds(partition, *scanner.find_bounds(place)), note)
    except TimeoutError as error:
        raise StartError(describe_failure(f"read the end of topic {topic.name}", error)) from error
    finally:
        scanner.close()


def _read(scanner: "Scanner", topic: str, partition: int, bounds: Bounds, note: Note | None) -> Iterator[LogRecord]:
    for each in scanner.read((topic, partition), *bounds):
        if not isinstance(each, ReadFault):
            yield from each
        elif note is not None:
            note(each)
