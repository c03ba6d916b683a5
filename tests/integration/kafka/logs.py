"""What the adapters' tests share: topics made for one test, and a plain client beside ours."""

import asyncio
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, Topics, declare_topics

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
    """confluent-kafka as anybody would use it."""

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
        consumer = Consumer({"bootstrap.servers": self._kafka, "group.id": "plain"}, logger=None)
        try:
            parts = [TopicPartition(topic.name, number, 0) for number in range(topic.partitions)]
            ends = {part.partition: consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts}
            consumer.assign(parts)
            found: list[Message] = []
            while any(
                place.offset < ends[place.partition] for place in consumer.position(parts) if ends[place.partition]
            ):
                messages = consumer.consume(1000, 1.0)
                assert all(message.error() is None for message in messages)
                found += messages
            return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))
        finally:
            consumer.close()
