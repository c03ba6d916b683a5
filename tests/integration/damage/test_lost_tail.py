"""A broker that loses the end of its log in a crash and goes on: what is written at the lost offsets is read.

The log grows beyond the position of its readers before they look again, so that no offset alone can tell.
"""

import asyncio
import os
import signal
from uuid import uuid4

import pytest

from pipeline.core.events.records import Event
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.topics import Topic
from tests.integration.damage.conftest import OwnBroker
from tests.integration.damage.readers import Readers, run_readers
from tests.integration.damage.test_wrong_bits import ask
from tests.integration.matcher.matcher_site import MatcherSite
from tests.support.eventually import eventually
from tests.support.kafka import alter_topic
from tests.support.single_process import SingleProcess

FIRST = 60
LOST_FROM = 30
NEW = 100
WAITING, WAITING_LOST_FROM = 400, 350


async def crash(broker: OwnBroker, *lost: Topic, lost_from: int = LOST_FROM) -> None:
    """Kill the broker, lose the records from `lost_from` on, and start it again at the same address."""
    port = int(broker.servers.rpartition(":")[2])
    os.kill(broker.kafka.pid, signal.SIGKILL)
    await eventually(lambda: not broker.kafka.is_alive())
    broker.kafka.stop()
    for topic in lost:
        segment = broker.segment(topic)
        (batch,) = [batch for batch in segment.batches() if batch.base_offset == lost_from]
        segment.cut(batch)
    broker.kafka = await asyncio.to_thread(EmbeddedKafka.start, broker.data_dir, port=port)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
async def test_what_is_written_at_lost_offsets_is_read(
    broker: OwnBroker, prefix: str, database: str, is_running: bool
) -> None:
    """Matcher, archive and http sink alike, whether they run meanwhile or start afterwards; each of them says so."""
    async with run_readers(broker.servers, prefix, database) as readers:
        accepted = send_events(readers, FIRST)
        sent = [each for _ in range(FIRST // 10) for each in readers.deliveries.send(readers.subscriber, count=10)]
        await readers.wait_for_first(accepted)
        await wait_for_commits(readers)
        if not is_running:
            for process in readers.processes:
                await process.stop()
        await crash(broker, readers.events.topics.events, readers.deliveries.topics.deliveries)
        # the broker has forgotten the records of the producer before: an idempotent one gives up
        readers.renew_events()
        accepted += send_events(readers, NEW)
        sent += readers.deliveries.send(readers.subscriber, count=NEW)
        if not is_running:
            for process in readers.processes:
                await process.start()

        await readers.check_all_read(accepted, sent)
        for process, topic in zip(readers.processes, readers.topics, strict=True):
            await check_said(process, topic)
        assert len(sent) == readers.receiver.received


async def test_what_waits_before_the_cut_is_matched(broker: OwnBroker, prefix: str) -> None:
    """The matcher has read on to behind the cut while it cannot write: what it has not matched is read again."""
    site = await MatcherSite(broker.servers, prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    # its session outlasts the crash: one that has to join again reads from its commit
    async with site.matcher(KAFKA_SESSION_TIMEOUT_S="60") as matcher:
        await alter_topic(broker.servers, site.topics.deliveries, "max.message.bytes", "60")
        events = site.send(application_id, 10)

        async def is_held() -> bool:
            status, _ = await ask(matcher, "/health")
            return status == 503

        await eventually(is_held)
        events += [event for _ in range(WAITING // 10 - 1) for event in site.send(application_id, 10)]

        async def are_read() -> bool:
            _, metrics = await ask(matcher, "/metrics")
            return read(metrics, "hookline_chunk_records_sum ") == WAITING

        await eventually(are_read)
        await crash(broker, site.topics.events, lost_from=WAITING_LOST_FROM)
        site = MatcherSite(broker.servers, prefix, partitions=1)
        new = [event for _ in range(NEW // 10) for event in site.send(application_id, 10)]
        await check_said(matcher, site.topics.events)
        await alter_topic(broker.servers, site.topics.deliveries, "max.message.bytes", "1000000")
        kept = events[:WAITING_LOST_FROM] + new
        dispatches = await site.dispatches(len(kept), timeout_s=60)

    assert {event.event_id for event in kept} <= {dispatch.event_id for dispatch in dispatches}


def send_events(readers: Readers, count: int) -> list[Event]:
    """Send events in batches of ten."""
    return [event for _ in range(count // 10) for event in readers.events.send(readers.application_id, 10)]


async def check_said(process: SingleProcess, topic: Topic) -> None:
    """Metrics and health name the loss. The matcher may have read everything before its guard looks at the log."""
    lost = f'hookline_lost_offsets_total{{known_to="reader",topic="{topic.name}"}} '

    async def is_said() -> bool:
        _, metrics = await ask(process, "/metrics")
        # there from the start, as 0; twice when its partitions are taken away before the first commit of the new log
        name = f'hookline_read_faults_total{{kind="tail_lost",topic="{topic.name}"}} '
        return read(metrics, name) > 0 and read(metrics, lost) >= FIRST - LOST_FROM

    await eventually(is_said)
    status, health = await ask(process, "/health")

    assert 503 == status
    assert topic.name in health


def read(metrics: str, name: str) -> float:
    """The value of a series, given with its labels and the space behind them."""
    (line,) = [line for line in metrics.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


async def wait_for_commits(readers: Readers) -> None:
    """Wait until all records are committed, so that readers that start afterwards begin there."""
    archive, deliveries = readers.archive, readers.deliveries
    await eventually(lambda: readers.events.committed() == {0: FIRST})
    await eventually(lambda: archive.committed()[archive.topics.events.name, 0] == FIRST)
    await eventually(lambda: deliveries.lag(deliveries.topics.deliveries) == 0)
