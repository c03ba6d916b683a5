"""Shared parts of the adapters' tests: topics made for one test, and a plain client beside ours."""

import asyncio
from collections.abc import Sequence

from confluent_kafka import Message, Producer

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, Topics, declare_topics
from tests.support.log import read_log

DAY_S = 86_400


def configure(kafka: str, topic_prefix: str, *, partitions: int = 2) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers=kafka, topic_prefix=topic_prefix, partitions=partitions)


async def make_topics(kafka: str, topic_prefix: str, *, partitions: int = 2) -> tuple[KafkaConfig, Topics]:
    """All topics, there."""
    config = configure(kafka, topic_prefix, partitions=partitions)
    topics = declare_topics(prefix=topic_prefix, partitions=partitions, event_retention_s=DAY_S)
    await asyncio.to_thread(apply_topics, config, topics)
    return config, topics


class PlainClient:
    """A plain confluent-kafka client."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})

    def write(self, topic: Topic, records: Sequence[tuple[bytes | None, bytes | None]], *, partition: int = -1) -> None:
        """Write (key, value) records, and wait until they are there."""
        for key, value in records:
            self._producer.produce(topic.name, key=key, value=value, partition=partition)
        left = self._producer.flush(30)
        assert left == 0, f"{left} records were not acknowledged"

    def read(self, topic: Topic) -> list[Message]:
        """All records, to the present end, by partition."""
        return read_log(self._kafka, topic)
