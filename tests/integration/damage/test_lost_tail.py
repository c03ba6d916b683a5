"""A broker that loses the end of its log in a crash and goes on: what is written at the lost offsets is read.

The log grows beyond the position of its readers before they look again, so that no offset alone can tell.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from pipeline.core.events.records import Event
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import Topic
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.damage.conftest import OwnBroker, wait_for_events
from tests.integration.damage.test_wrong_bits import ask
from tests.integration.deliver.deliver_site import DeliverSite
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.single_process import SingleProcess

FIRST = 60
LOST_FROM = 30
NEW = 100


async def crash(broker: OwnBroker, *lost: Topic) -> None:
    """Kill the broker, lose the records from `LOST_FROM` on, and start it again at the same address."""
    port = int(broker.servers.rpartition(":")[2])
    os.kill(broker.kafka.pid, signal.SIGKILL)
    await eventually(lambda: not broker.kafka.is_alive())
    broker.kafka.stop()
    for topic in lost:
        segment = broker.segment(topic)
        (batch,) = [batch for batch in segment.batches() if batch.base_offset == LOST_FROM]
        segment.cut(batch)
    broker.kafka = await asyncio.to_thread(EmbeddedKafka.start, broker.data_dir, port=port)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
async def test_what_is_written_at_lost_offsets_is_read(
    broker: OwnBroker, prefix: str, database: str, is_running: bool
) -> None:
    """Matcher, archive and http sink alike, whether they run meanwhile or start afterwards; each of them says so."""
    events = MatcherSite(broker.servers, f"{prefix}a.", partitions=1)
    archive = ArchiveSite(broker.servers, f"{prefix}a.", database, partitions=1)
    deliveries = DeliverSite(broker.servers, f"{prefix}b.", partitions=1)
    await events.prepare()
    await deliveries.prepare()
    application_id = str(uuid4())
    events.publish(application_id, {str(uuid4()): {}})
    async with Receiver() as receiver, AsyncExitStack() as running:
        subscriber = deliveries.subscribe(receiver.url("/a"))
        processes = [events.matcher(), archive.archive(), deliveries.deliver()]
        for process in processes:
            await running.enter_async_context(process)
        accepted = send_events(events, application_id, FIRST)
        sent = [each for _ in range(FIRST // 10) for each in deliveries.send(subscriber, count=10)]
        await events.dispatches(FIRST)
        await wait_for_events(database, accepted)
        await deliveries.attempts(FIRST)
        await wait_for_commits(events, archive, deliveries)
        if not is_running:
            for process in processes:
                await process.stop()
        await crash(broker, events.topics.events, deliveries.topics.deliveries)
        # the broker has forgotten what the producer before wrote: an idempotent one gives up
        events = MatcherSite(broker.servers, f"{prefix}a.", partitions=1)
        accepted += send_events(events, application_id, NEW)
        sent += deliveries.send(subscriber, count=NEW)
        if not is_running:
            for process in processes:
                await process.start()

        await wait_for_events(database, accepted)
        await events.dispatches(FIRST + NEW, timeout_s=60)
        await eventually(
            lambda: {each.delivery_id for each in sent} == {each.header("webhook-id") for each in receiver.requests()},
            timeout_s=60,
        )
        for process, topic in zip(
            processes, (events.topics.events, events.topics.events, deliveries.topics.deliveries), strict=True
        ):
            await check_said(process, topic)
        dispatched = {each.event_id for each in await events.dispatches(FIRST + NEW)}

        assert {event.event_id for event in accepted} == dispatched
        assert len(sent) == receiver.received


def send_events(site: MatcherSite, application_id: str, count: int) -> list[Event]:
    """In batches of ten."""
    return [event for _ in range(count // 10) for event in site.send(application_id, 10)]


async def check_said(process: SingleProcess, topic: Topic) -> None:
    _, metrics = await ask(process, "/metrics")
    status, health = await ask(process, "/health")

    # twice when its partitions are taken away before the first commit of the new log
    name = f'hookline_read_faults_total{{kind="tail_lost",topic="{topic.name}"}}'
    assert [line for line in metrics.splitlines() if line.startswith(name) and not line.endswith(" 0.0")]
    lost = f'hookline_lost_offsets_total{{known_to="reader",topic="{topic.name}"}} '
    (line,) = [line for line in metrics.splitlines() if line.startswith(lost)]
    assert float(line.removeprefix(lost)) >= FIRST - LOST_FROM
    assert 503 == status
    assert topic.name in health


async def wait_for_commits(events: MatcherSite, archive: ArchiveSite, deliveries: DeliverSite) -> None:
    """What was read is committed, so that those that start afterwards begin there."""
    await eventually(lambda: events.committed() == {0: FIRST})
    await eventually(lambda: archive.committed()[archive.topics.events.name, 0] == FIRST)
    await eventually(lambda: deliveries.lag(deliveries.topics.deliveries) == 0)
