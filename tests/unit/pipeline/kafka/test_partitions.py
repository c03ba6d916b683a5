"""Ends of partitions, as the client gives them."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import ListOffsetsResultInfo

from pipeline.kafka.partitions import End, read_end


def test_an_end_without_an_answer_is_none() -> None:
    """A broker that has gone answers nothing, and the client says -1001: no log was cut off there."""
    assert End(7, 3) == read_end(ListOffsetsResultInfo(7, -1, 3))
    with pytest.raises(KafkaException):
        read_end(ListOffsetsResultInfo(-1001, -1, -1))
