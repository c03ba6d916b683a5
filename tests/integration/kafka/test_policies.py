"""A policy of cleaning that an operator sets by mistake, on a broker that cleans at once."""

import asyncio
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.config import KafkaConfig
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.kafka.partition_bounds import find_partition_bounds
from pipeline.topics import Topic
from tests.integration.kafka.logs import PlainClient, make_topics
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.log import read_log

AT_ONCE = {"log.cleaner.backoff.ms": "200"}
RECORDS = 6


async def test_nothing_is_removed_that_would_have_stayed(tmp_path: Path) -> None:
    """Each topic under compaction. The broker cleans meanwhile: a topic without our settings loses its records."""
    broker = await asyncio.to_thread(EmbeddedKafka.start, tmp_path, extra=AT_ONCE)
    try:
        servers = broker.bootstrap_servers
        config, topics = await make_topics(servers, "policies.", partitions=1)
        client = PlainClient(servers)
        for topic in topics.all():
            await alter_topic(servers, topic, "segment.ms", "50")
            fill(client, topic)
        for topic in topics.all():
            await alter_topic(servers, topic, "cleanup.policy", "compact")
        await wait_cleaned(config, client, replace(topics.dead, name="plain"))

        assert {topic.name: RECORDS for topic in topics.all()} == {
            topic.name: len(read_log(servers, topic)) for topic in topics.all()
        }
    finally:
        await asyncio.to_thread(broker.stop)


def fill(client: PlainClient, topic: Topic) -> None:
    """Records of one key, most of them in a segment of their own: the last segment stays in any case."""
    for _ in range(RECORDS):
        client.write(topic, [(b"key", b"value")])


async def wait_cleaned(config: KafkaConfig, client: PlainClient, topic: Topic) -> None:
    """Wait until the broker has cleaned a new topic that is compacted and has none of our settings."""
    settings = {"cleanup.policy": "compact", "segment.ms": "50"}
    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers}, logger=None)
    for made in admin.create_topics([NewTopic(topic.name, num_partitions=1, config=settings)]).values():
        made.result(60)

    def is_cleaned() -> bool:
        client.write(topic, [(b"key", b"value")])
        _, end = find_bounds(config.bootstrap_servers, topic)
        return len(read_log(config.bootstrap_servers, topic)) < end

    await eventually(is_cleaned, timeout_s=60)


def find_bounds(servers: str, topic: Topic) -> tuple[int, int]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test-bounds"}, logger=None)
    try:
        return find_partition_bounds(consumer, topic.name, 0)
    finally:
        consumer.close()
