"""A topic that is deleted and made again while its readers run, or while they do not: it is read from its beginning.

When they look again it is longer than what they had read of the one before, so that no offset can tell.
"""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, Topics
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.damage.conftest import wait_for_events
from tests.integration.damage.test_wrong_bits import ask
from tests.integration.deliver.deliver_site import DeliverSite
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess

FIRST = 10
NEW = 40


async def make_again(config: KafkaConfig, topics: Topics, topic: Topic) -> None:
    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers}, logger=None)
    for future in admin.delete_topics([topic.name]).values():
        await asyncio.to_thread(future.result, 30)
    await eventually(lambda: topic.name not in admin.list_topics(timeout=10).topics)
    await asyncio.to_thread(apply_topics, config, topics)


@pytest.mark.parametrize("readers", ["running", "frozen", "stopped"])
async def test_a_topic_made_again_is_read_from_its_beginning(
    kafka: str, topic_prefix: str, database: str, readers: str
) -> None:
    """Matcher, archive and http sink alike; each of them says so, and the archive keeps what it has."""
    events = MatcherSite(kafka, f"{topic_prefix}a.", partitions=1)
    archive = ArchiveSite(kafka, f"{topic_prefix}a.", database, partitions=1)
    deliveries = DeliverSite(kafka, f"{topic_prefix}b.", partitions=1)
    await events.prepare()
    await deliveries.prepare()
    application_id = str(uuid4())
    events.publish(application_id, {str(uuid4()): {}})
    async with Receiver() as receiver, AsyncExitStack() as running:
        subscriber = deliveries.subscribe(receiver.url("/a"))
        processes = [events.matcher(), archive.archive(), deliveries.deliver()]
        for process in processes:
            await running.enter_async_context(process)
        accepted = events.send(application_id, FIRST)
        sent = deliveries.send(subscriber, count=FIRST)
        await events.dispatches(FIRST)
        await wait_for_events(database, accepted)
        await deliveries.attempts(FIRST)
        await eventually(lambda: events.committed() == {0: FIRST})
        for process in processes:
            if readers == "stopped":
                await process.stop()
            elif readers == "frozen":
                process.freeze()
        await make_again(events.config, events.topics, events.topics.events)
        await make_again(deliveries.config, deliveries.topics, deliveries.topics.deliveries)
        # a producer that knows the old topics would write to these with their numbers
        events = MatcherSite(kafka, f"{topic_prefix}a.", partitions=1)
        accepted += events.send(application_id, NEW)
        deliveries = DeliverSite(kafka, f"{topic_prefix}b.", partitions=1)
        sent += deliveries.send(subscriber, count=NEW)
        for process in processes:
            if readers == "stopped":
                await process.start()
            elif readers == "frozen":
                process.thaw()

        await wait_for_events(database, accepted)
        dispatched = {each.event_id for each in await events.dispatches(FIRST + NEW, timeout_s=60)}
        await eventually(
            lambda: {each.delivery_id for each in sent} == {each.header("webhook-id") for each in receiver.requests()},
            timeout_s=60,
        )
        said = processes if readers != "stopped" else processes[1:2]  # the group's commits go with the topic
        topics = (events.topics.events, events.topics.events, deliveries.topics.deliveries)
        for process, topic in zip(processes, topics, strict=True):
            if process in said:
                await check_said(process, topic)

    assert {event.event_id for event in accepted} == dispatched
    assert len(sent) == receiver.received


async def check_said(process: SingleProcess, topic: Topic) -> None:
    async def is_said() -> bool:
        _, metrics = await ask(process, "/metrics")
        # it is there from the start, as 0
        name = f'hookline_read_faults_total{{kind="made_again",topic="{topic.name}"}} '
        return any(float(line.removeprefix(name)) > 0 for line in metrics.splitlines() if line.startswith(name))

    await eventually(is_said)
    status, health = await ask(process, "/health")

    assert 503 == status
    assert topic.name in health
    assert "made again" in health
