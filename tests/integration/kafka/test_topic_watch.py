"""Topics that an operator changes while processes run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import generate_latest

from pipeline.config import KafkaConfig
from pipeline.kafka.topic_watch import TopicWatch
from pipeline.metrics import Metrics
from pipeline.topics import Topics
from tests.integration.kafka.logs import DAY_S, make_topics
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic, delete_topics


@asynccontextmanager
async def watch(config: KafkaConfig, topics: Topics, metrics: Metrics) -> AsyncIterator[TopicWatch]:
    often = config.model_copy(update={"topics_check_interval_s": 0.2})
    watching = TopicWatch(often, topics.all(), metrics)
    async with beside(watching.run()):
        yield watching


async def test_every_setting_that_is_relied_on_is_compared(kafka: str, topic_prefix: str) -> None:
    """Topic, setting, what is wanted and what was found are named, and it heals by itself."""
    config, topics = await make_topics(kafka, topic_prefix)
    metrics = Metrics("test")
    changes = [
        (topics.attempts, "max.message.bytes", "1000", str(config.record_max_bytes)),
        (topics.retries[0], "message.timestamp.type", "CreateTime", "LogAppendTime"),
        (topics.events, "retention.ms", "60000", str(DAY_S * 1000)),
        (topics.routes, "cleanup.policy", "delete", "compact"),
        (topics.endpoints, "retention.ms", "60000", "-1"),
        (topics.deliveries, "cleanup.policy", "compact", "delete"),
        (topics.deliveries, "retention.bytes", "100000", "-1"),
        (topics.dead, "min.insync.replicas", "2", "1"),
    ]
    async with watch(config, topics, metrics) as watching:
        for topic, setting, found, wanted in changes:
            await alter_topic(kafka, topic, setting, found)

            def is_named(said: str = f"{topic.name}: {setting} is {found}, {wanted}") -> bool:
                return said in (watching.check() or "")

            await eventually(is_named)
            assert f'topic="{topic.name}"' in find_line(metrics, "hookline_topic_settings_differing", topic.name)
            await alter_topic(kafka, topic, setting, wanted)
            await eventually(lambda: watching.check() is None)
    assert "hookline_topic_settings_differing{" not in generate_latest(metrics.registry).decode()


async def test_more_than_is_wanted_is_as_good(kafka: str, topic_prefix: str) -> None:
    """Longer retention, for ever, larger records: no reason for an alert."""
    config, topics = await make_topics(kafka, topic_prefix)
    for setting, value in (("retention.ms", "-1"), ("max.message.bytes", str(64 * 1024 * 1024))):
        await alter_topic(kafka, topics.events, setting, value)
    # a second one that is worse shows that they were compared
    await alter_topic(kafka, topics.dead, "retention.ms", "60000")
    async with watch(config, topics, Metrics("test")) as watching:

        def is_named() -> bool:
            return f"{topics.dead.name}: retention.ms" in (watching.check() or "")

        await eventually(is_named)

        assert topics.events.name not in (watching.check() or "")


async def test_a_topic_that_is_gone_is_named(kafka: str, topic_prefix: str) -> None:
    """Deleted while processes run."""
    config, topics = await make_topics(kafka, topic_prefix)
    async with watch(config, topics, Metrics("test")) as watching:
        await asyncio.to_thread(delete_topics, kafka, topics.dispatches.name)

        def is_named() -> bool:
            return f"{topics.dispatches.name}: topic is missing" in (watching.check() or "")

        await eventually(is_named)


def find_line(metrics: Metrics, name: str, topic: str) -> str:
    return next(
        line
        for line in generate_latest(metrics.registry).decode().splitlines()
        if line.startswith(name) and topic in line
    )
