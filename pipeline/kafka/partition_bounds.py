"""Where a partition begins and ends, asked with patience: it may have no leader for a moment."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

QUERY_TIMEOUT_S = 10.0
LEADER_TIMEOUT_S = 30.0
PAUSE_S = 0.2
# The topic was created a moment ago, or its broker is just coming back.
LEADERLESS = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)

T = TypeVar("T")


class Asked(Protocol):
    """The one method of a consumer that is called here."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]: ...


def find_partition_bounds(
    consumer: Asked,
    topic: str,
    partition: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[int, int]:
    """The offset of the first record, and the one that the next record will get. Blocks.

    Raises `KafkaException` when Kafka does not answer, or the partition stays without a leader.
    """
    part = TopicPartition(topic, partition)
    return wait_for_leader(
        lambda: consumer.get_watermark_offsets(part, timeout=QUERY_TIMEOUT_S), clock=clock, sleep=sleep
    )


def wait_for_leader(
    ask: Callable[[], T], *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
) -> T:
    """The answer of `ask`, which is asked again while a partition has no leader. Blocks.

    Raises `KafkaException` of another kind at once, and that of a leader when it stays away.
    """
    deadline_s = clock() + LEADER_TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or clock() > deadline_s:
                raise
        sleep(PAUSE_S)
