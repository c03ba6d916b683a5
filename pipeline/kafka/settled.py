"""How far a group has come with topics, asked from outside, and where their partitions begin and end. Blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException

from pipeline.config import KafkaConfig
from pipeline.core.log.commit_note import Range, parse_note
from pipeline.kafka.client_errors import describe_failure
from pipeline.kafka.commit_metadata import split_note
from pipeline.kafka.options import view_options
from pipeline.kafka.partition_bounds import find_partition_bounds
from pipeline.kafka.partitions import find_committed, find_ends
from pipeline.kafka.record import Place
from pipeline.kafka.tail import Bounds
from pipeline.start_error import StartError
from pipeline.topics import Topic


@dataclass(frozen=True, slots=True)
class Settled:
    """Settled offsets of one partition: all below `offset`, and the ranges `done` beyond it."""

    offset: int = 0
    done: tuple[Range, ...] = ()

    def has(self, offset: int) -> bool:
        """Is the record at `offset` settled?"""
        return offset < self.offset or any(first <= offset < end for first, end in self.done)

    def count(self, below: int) -> int:
        """How many of the first `below` offsets are settled."""
        if below <= self.offset:
            return below
        return self.offset + sum(min(end, below) - first for first, end in self.done if first < below)


Ends = Mapping[Place, int]  # of partitions: one past the last offset


class Progress(NamedTuple):
    """How far a group is with a topic whose partitions end at `ends`."""

    settled: Mapping[Place, Settled]
    ends: Ends

    def count_settled(self) -> int:
        """Records that are settled, of all that there ever were."""
        return sum(self.settled[place].count(end) for place, end in self.ends.items())

    def count_unsettled(self, ends: Ends) -> int:
        """Records before `ends` that are not settled."""
        return sum(end - self.settled[place].count(end) for place, end in ends.items())


class SettledOffsets:
    """Asks what a group has settled, any number of times, from one thread at a time."""

    def __init__(self, config: KafkaConfig, group: str) -> None:
        """Raises `StartError` when no client can be made."""
        self._config = config
        self._group = group
        try:
            self._consumer = Consumer(view_options(config) | {"group.id": group}, logger=None)  # asks, and never joins
        except KafkaException as error:  # this machine has no room for its threads
            raise StartError(describe_failure(f"ask what group {group} has committed", error)) from error

    def read(self, topics: Sequence[Topic]) -> dict[Place, Settled]:
        """Settled offsets by partition, from the group's commits. Raises `StartError` when Kafka does not answer."""
        places = [(topic.name, partition) for topic in topics for partition in range(topic.partitions)]
        try:
            found = find_committed(self._consumer, places)
        except KafkaException as error:
            raise StartError(describe_failure(f"ask what group {self._group} has committed", error)) from error
        settled = {}
        for place, part in found.items():
            _, note = split_note(part.metadata)
            settled[place] = Settled(part.offset, parse_note(part.offset, note).done) if part.offset >= 0 else Settled()
        return settled

    def measure(self, topic: Topic) -> Progress:
        """How far the group is with a topic. Raises as `read`."""
        settled = self.read([topic])
        ends = find_ends(self._consumer, list(settled), self._config)
        if len(ends) < len(settled):
            raise StartError(f"cannot ask where {topic.name} ends: Kafka does not answer")
        return Progress(settled, ends)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def read_settled(config: KafkaConfig, group: str, topics: Sequence[Topic]) -> dict[Place, Settled]:
    """Ask once, see `SettledOffsets.read`."""
    asking = SettledOffsets(config, group)
    try:
        return asking.read(topics)
    finally:
        asking.close()


def read_bounds(config: KafkaConfig, topics: Sequence[Topic]) -> dict[Place, Bounds]:
    """The first offset of each partition, and the one its next record will get. Raises as `read_settled`."""
    consumer = Consumer(view_options(config), logger=None)
    try:
        return {
            (topic.name, partition): find_partition_bounds(consumer, topic.name, partition)
            for topic in topics
            for partition in range(topic.partitions)
        }
    except KafkaException as error:
        raise StartError(describe_failure("ask where topics end", error)) from error
    finally:
        consumer.close()
