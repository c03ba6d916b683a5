from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.kafka.partition_bounds import LEADER_TIMEOUT_S, PAUSE_S, find_partition_bounds


class Consumer:
    """Answers with these errors first, then with offsets."""

    def __init__(self, errors: Iterator[int]) -> None:
        self._errors = errors

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        code = next(self._errors, None)
        if code is not None:
            raise KafkaException(KafkaError(code))
        return partition.partition, 10

    def list_topics(self, topic: str, timeout: float) -> object:
        return None


class Clock:
    """Moves when a caller sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s


def test_a_partition_without_a_leader_is_asked_again() -> None:
    """A partition that was created a moment ago is no reason to refuse to start."""
    clock = Clock()
    errors = iter(
        [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION]
    )

    found = find_partition_bounds(Consumer(errors), "events", 3, clock=clock, sleep=clock.sleep)

    assert (3, 10) == found
    assert 3 * PAUSE_S == pytest.approx(clock.now_s)


def test_patience_ends() -> None:
    """A topic that stays away is told of."""
    clock = Clock()
    errors = iter([KafkaError.LEADER_NOT_AVAILABLE] * 1000)

    with pytest.raises(KafkaException):
        find_partition_bounds(Consumer(errors), "events", 0, clock=clock, sleep=clock.sleep)
    assert LEADER_TIMEOUT_S <= clock.now_s < LEADER_TIMEOUT_S + 2 * PAUSE_S


def test_other_errors_are_raised_at_once() -> None:
    """Asking again would not help."""
    clock = Clock()
    errors = iter([KafkaError.TOPIC_AUTHORIZATION_FAILED])

    with pytest.raises(KafkaException):
        find_partition_bounds(Consumer(errors), "events", 0, clock=clock, sleep=clock.sleep)
    assert 0.0 == clock.now_s
