"""Where a partition begins and ends, asked with patience: it may have no leader for a moment."""

import contextlib
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.kafka.partitions import LEADER_CHANGED

QUERY_TIMEOUT_S = 10.0
LEADER_TIMEOUT_S = 30.0
PAUSE_S = 0.2
# The topic was created a moment ago, its broker is just coming back, or another broker takes over from it.
LEADERLESS = LEADER_CHANGED | frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's names: as yet it does not know it
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001 - the leader is silent, or gone
        KafkaError._TRANSPORT,  # noqa: SLF001
    }
)

T = TypeVar("T")


class Asked(Protocol):
    """The methods of a consumer that are called here."""

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]: ...

    def list_topics(self, topic: str, timeout: float) -> object: ...


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

    def look() -> None:
        with contextlib.suppress(KafkaException):
            consumer.list_topics(topic, timeout=QUERY_TIMEOUT_S)

    return wait_for_leader(
        lambda: consumer.get_watermark_offsets(part, timeout=QUERY_TIMEOUT_S), look, clock=clock, sleep=sleep
    )


def wait_for_leader(
    ask: Callable[[], T],
    look: Callable[[], object] = lambda: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """The answer of `ask`, which is asked again while a partition has no leader. Blocks.

    `look`: has the client find out who leads now. Raises `KafkaException` of another kind at once, and that of a leader
    when it stays away.
    """
    deadline_s = clock() + LEADER_TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or clock() > deadline_s:
                raise
        sleep(PAUSE_S)
        look()  # a client asks the one that led before for minutes
