"""Offsets that no record fills, and what an open transaction holds back."""

import asyncio
import re
from uuid import uuid4

from confluent_kafka import Producer

from pipeline.core.events.records import to_bytes
from tests.integration.damage.test_wrong_bits import ask
from tests.integration.matcher.matcher_site import MatcherSite, make_event
from tests.support.eventually import eventually
from tests.support.single_process import SingleProcess


async def find_metric(process: SingleProcess, name: str) -> float | None:
    """The sum of a metric's series; None: there is none."""
    _, metrics = await ask(process, "/metrics")
    values = re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, values)) if values else None


async def wait_for_metric(process: SingleProcess, name: str, wanted: float | None) -> None:
    async def check() -> bool:
        found = await find_metric(process, name)
        assert found == wanted, f"{name} is {found}, not {wanted}"
        return True

    await eventually(check)


async def wait_for_health(process: SingleProcess, text: str) -> None:
    async def check() -> bool:
        _, health = await ask(process, "/health")
        assert text in health, health
        return True

    await eventually(check)


async def test_offsets_without_a_record_are_committed_as_well(kafka: str, topic_prefix: str) -> None:
    """Ends of transactions, and what was taken back: the commit goes to the end of the partition, the lag to 0."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}t"})
    await asyncio.to_thread(producer.init_transactions, 30)
    async with site.matcher() as matcher:
        for end in (producer.commit_transaction, producer.abort_transaction, producer.abort_transaction):
            producer.begin_transaction()
            event = make_event(application_id)
            producer.produce(site.topics.events.name, key=application_id.encode(), value=to_bytes(event))
            await asyncio.to_thread(producer.flush, 30)
            await asyncio.to_thread(end, 30)
        await site.dispatches(1)
        await eventually(lambda: site.committed() == site.ends(site.topics.events) == {0: 6})
        await wait_for_metric(matcher, "hookline_lag_records", 0)


async def test_an_open_transaction_is_said(kafka: str, topic_prefix: str) -> None:
    """Records behind its first one cannot be read: a figure says how much, and health after a while."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = str(uuid4())
    site.publish(application_id, {str(uuid4()): {}})
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}t"})
    await asyncio.to_thread(producer.init_transactions, 30)
    async with site.matcher() as matcher:
        producer.begin_transaction()
        producer.produce(site.topics.events.name, key=b"k", value=b"taken back")
        await asyncio.to_thread(producer.flush, 30)
        (event,) = site.send(application_id)
        await wait_for_metric(matcher, "hookline_open_transaction_offsets", 2)
        await wait_for_health(matcher, "a producer's transaction is open")
        assert 0 == site.count(site.topics.dispatches)
        await asyncio.to_thread(producer.abort_transaction, 30)
        (dispatch,) = await site.dispatches(1)
        await wait_for_metric(matcher, "hookline_open_transaction_offsets", None)

    assert event.event_id == dispatch.event_id
