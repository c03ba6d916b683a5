"""A topic that is deleted and made again while its readers run, or while they do not: it is read from its beginning.

When they look again it is longer than what they had read of the one before, so that no offset can tell.
"""

import asyncio
import json
from functools import partial

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.config import KafkaConfig
from pipeline.kafka.admin import apply_topics
from pipeline.topics import Topic, Topics
from tests.integration.archive.tables import count_rows
from tests.integration.damage.readers import CATCH_UP_TIMEOUT_S, Readers, run_readers
from tests.integration.damage.test_wrong_bits import ask
from tests.integration.matcher.matcher_site import EVENT_TYPE
from tests.support.eventually import eventually
from tests.support.single_process import SingleProcess

FIRST = 10
NEW = 40
FROZEN = ("frozen", "expired")
WRITTEN = ("events", "dead_letters")


async def make_again(config: KafkaConfig, topics: Topics, topic: Topic) -> None:
    admin = AdminClient({"bootstrap.servers": config.bootstrap_servers}, logger=None)
    for future in admin.delete_topics([topic.name]).values():
        await asyncio.to_thread(future.result, 30)
    await eventually(lambda: topic.name not in admin.list_topics(timeout=60).topics)
    await asyncio.to_thread(apply_topics, config, topics)


@pytest.mark.parametrize("state", ["running", "frozen", "expired", "stopped"])
async def test_a_topic_made_again_is_read_from_its_beginning(
    kafka: str, topic_prefix: str, database: str, state: str
) -> None:
    """Matcher, archive and http sink alike; each of them says so, and the archive keeps what it has.

    Expired: frozen for so long that its groups have gone on without it.
    """
    async with run_readers(kafka, topic_prefix, database) as readers:
        accepted = readers.events.send(readers.application_id, FIRST)
        sent = readers.deliveries.send(readers.subscriber, count=FIRST)
        await readers.wait_for_first(accepted)
        await eventually(lambda: readers.events.committed() == {0: FIRST})
        for process in readers.processes:
            if state == "stopped":
                await process.stop()
            elif state in FROZEN:
                process.freeze()
        if state == "expired":
            await eventually(lambda: not list_busy_groups(kafka, topic_prefix), timeout_s=120)
        await make_again(readers.events.config, readers.events.topics, readers.events.topics.events)
        await make_again(readers.deliveries.config, readers.deliveries.topics, readers.deliveries.topics.deliveries)
        # a producer that knows the old topics would write to these with their numbers
        readers.renew_events()
        accepted += readers.events.send(readers.application_id, NEW)
        readers.renew_deliveries()
        sent += readers.deliveries.send(readers.subscriber, count=NEW)
        for process in readers.processes:
            if state == "stopped":
                await process.start()
            elif state in FROZEN:
                process.thaw()

        await readers.check_all_read(accepted, sent)
        said = (
            readers.processes if state != "stopped" else readers.processes[1:2]
        )  # the group's commits go with the topic
        for process, topic in zip(readers.processes, readers.topics, strict=True):
            if process in said:
                await check_said(process, topic)
        assert len(sent) == readers.receiver.received


async def test_records_without_an_id_are_news_in_a_topic_made_again(
    kafka: str, topic_prefix: str, database: str
) -> None:
    """Events and dead letters that have their ids from where their records lie: the same offsets are other records."""
    async with run_readers(kafka, topic_prefix, database) as readers:
        for count in (FIRST, 2 * FIRST):
            send_without_ids(readers)
            dispatches = await readers.events.dispatches(count, timeout_s=CATCH_UP_TIMEOUT_S)

            assert count == len({each.event_id for each in dispatches})
            await eventually(partial(has_rows, database, count), timeout_s=CATCH_UP_TIMEOUT_S)
            if count == FIRST:
                await make_again(readers.events.config, readers.events.topics, readers.events.topics.events)
                readers.renew_events()


def has_rows(database: str, count: int) -> bool:
    return all(count == count_rows(database, name) for name in WRITTEN)


def send_without_ids(readers: Readers) -> None:
    """Write events that have no id, and as many records that are no events."""
    form = {
        "application_id": readers.application_id,
        "event_type": EVENT_TYPE,
        "payload": "{}",
        "payload_content_type": "application/json",
    }
    for value in [json.dumps(form).encode(), b"{no event"] * FIRST:
        readers.events.write_bytes(readers.events.topics.events, readers.application_id.encode(), value)
    readers.events.flush()


def list_busy_groups(servers: str, prefix: str) -> list[str]:
    """Groups of these topics that have a member."""
    admin = AdminClient({"bootstrap.servers": servers}, logger=None)
    groups = [
        each.group_id for each in admin.list_consumer_groups().result(60).valid if each.group_id.startswith(prefix)
    ]
    return [name for name, found in admin.describe_consumer_groups(groups).items() if found.result(60).members]


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
