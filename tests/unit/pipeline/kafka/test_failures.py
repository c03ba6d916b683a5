"""Kinds of refused records."""

import pytest
from confluent_kafka import KafkaError

from pipeline.kafka.failures import KafkaUnavailableError, RecordRefusedError, TopicRefusedError, name_failure


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordRefusedError),
        (KafkaError.NOT_ENOUGH_REPLICAS, TopicRefusedError),
        # it was appended, and may stay: what is not known is not called a refusal
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaUnavailableError),
        (KafkaError.REQUEST_TIMED_OUT, KafkaUnavailableError),
        (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaUnavailableError),
        (KafkaError.KAFKA_STORAGE_ERROR, KafkaUnavailableError),
    ],
)
def test_what_is_known_of_a_record_without_an_acknowledgement(code: int, kind: type) -> None:
    """Refused for good, refused for now, or not known."""
    assert kind is type(name_failure(KafkaError(code), "t"))
