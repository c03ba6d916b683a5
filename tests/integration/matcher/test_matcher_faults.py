"""The matcher process while it is killed, joined, left, and while the group changes hands."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.core.events.records import DeadLetter, Delivery, Event, expect, to_bytes
from tests.integration.matcher.matcher_site import MatcherSite, deliveries_by_event, make_event, make_id
from tests.support.eventually import eventually

APPLICATIONS = 8
EVENTS = 20_000
# A session that ends while the machine pauses gives partitions away by itself, and what is under way is repeated.
IN_SMALL_CHUNKS = {"MATCHER_CHUNK_MAX_RECORDS": "100", "KAFKA_SESSION_TIMEOUT_S": "20"}


def prepare_applications(site: MatcherSite) -> dict[str, set[str]]:
    """Applications with two subscriptions each, published."""
    applications = {make_id(): {make_id(), make_id()} for _ in range(APPLICATIONS)}
    for application_id, subscription_ids in applications.items():
        site.publish(application_id, {each: {} for each in subscription_ids})
    return applications


def send_all(site: MatcherSite, applications: dict[str, set[str]]) -> list[Event]:
    """`EVENTS` events, application after application in turn."""
    events = [make_event(application_id) for _ in range(EVENTS // APPLICATIONS) for application_id in applications]
    for event in events:
        site.write_bytes(site.topics.events, event.application_id.encode(), to_bytes(event))
    site.flush()
    return events


def check_all_matched(site: MatcherSite, applications: dict[str, set[str]], events: list[Event]) -> int:
    """Every event has a delivery for each of its subscriptions and no other. How many deliveries are repeats."""
    deliveries = site.read_records(site.topics.deliveries, Delivery)
    found = deliveries_by_event(deliveries)

    assert {event.event_id for event in events} == found.keys()
    for event in events:
        assert applications[event.application_id] == found[event.event_id].keys()
    assert 0 == site.count(site.topics.dead)
    # the first deliveries of events come in the order of their events
    for number in range(site.config.partitions):
        check_order(site, number, events)
    return len(deliveries) - 2 * len(events)


def check_order(site: MatcherSite, partition: int, events: list[Event]) -> None:
    places = {event.event_id: place for place, event in enumerate(events)}
    first: dict[str, list[int]] = {}
    seen = set()
    for message in site.read(site.topics.deliveries):
        if message.partition() != partition:
            continue
        delivery = expect(Delivery, message.value() or b"")
        if delivery.delivery_id not in seen:
            seen.add(delivery.delivery_id)
            first.setdefault(delivery.subscription_id, []).append(places[delivery.event_id])
    for order in first.values():
        assert sorted(order) == order


async def test_kill_in_mid_stream_loses_nothing(kafka: str, topic_prefix: str) -> None:
    """kill -9, twice, while 20,000 events are matched: each is matched, in order, and what is repeated is bounded by
    what was read since the last commit.
    """
    site = await MatcherSite(kafka, topic_prefix).prepare()
    applications = prepare_applications(site)
    matcher = site.matcher(MATCHER_COMMIT_INTERVAL_S="0.1", MATCHER_CHUNK_MAX_RECORDS="100")
    async with matcher:
        sending = asyncio.create_task(asyncio.to_thread(send_all, site, applications))
        uncommitted = 0
        for share in (4, 2):
            await site.wait_for(site.topics.dispatches, EVENTS // share)
            await matcher.kill()
            written = sum(site.ends(site.topics.deliveries).values())
            uncommitted += written - 2 * sum(site.committed().values())
            await matcher.start()
        events = await sending
        await eventually(lambda: site.committed() == site.ends(site.topics.events), timeout_s=120)

    repeated = check_all_matched(site, applications, events)
    assert repeated <= uncommitted


async def test_a_matcher_that_leaves_loses_nothing(kafka: str, topic_prefix: str) -> None:
    """Two share the work; one is told to stop in the middle: every event is matched, hardly one of them twice."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    applications = prepare_applications(site)
    first, second = (site.matcher(**IN_SMALL_CHUNKS) for _ in range(2))
    async with first, second:
        sending = asyncio.create_task(asyncio.to_thread(send_all, site, applications))
        await site.wait_for(site.topics.dispatches, EVENTS // 4)
        assert 0 == await first.stop()
        events = await sending
        await eventually(lambda: site.committed() == site.ends(site.topics.events), timeout_s=120)

    assert check_all_matched(site, applications, events) <= 2 * 100


async def test_a_matcher_that_joins_loses_nothing(kafka: str, topic_prefix: str) -> None:
    """A second one takes over half of the partitions in the middle of the work."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    applications = prepare_applications(site)
    first, second = (site.matcher(**IN_SMALL_CHUNKS) for _ in range(2))
    async with first:
        sending = asyncio.create_task(asyncio.to_thread(send_all, site, applications))
        await site.wait_for(site.topics.dispatches, EVENTS // 10)
        async with second:
            events = await sending
            await eventually(lambda: site.committed() == site.ends(site.topics.events), timeout_s=120)

    assert check_all_matched(site, applications, events) <= 2 * 100


@pytest.mark.parametrize("is_warm", [False, True], ids=["before any commit", "behind a commit"])
async def test_what_arrives_in_a_rebalance_is_not_lost(kafka: str, topic_prefix: str, is_warm: bool) -> None:
    """Events that come at the very moment when the group changes, with nothing else going on, are matched."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    expected: set[str] = set()

    def send() -> None:
        for _ in range(20):
            expected.update(event.event_id for event in site.send(application_id, 5))

    async with site.matcher():
        if is_warm:
            send()
            await eventually(lambda: site.committed() == {0: 100})
        for number in range(1, 4):
            with joined(site, on_join=send):
                await eventually(lambda number=number: len(expected) == 100 * (number + is_warm))  # type: ignore[misc]  # bound for this turn
                dispatches = await site.dispatches(len(expected))
                assert expected == {dispatch.event_id for dispatch in dispatches}


async def test_commits_do_not_outrun_writing(kafka: str, topic_prefix: str) -> None:
    """Committed events have their dispatches in the log at any time."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    applications = prepare_applications(site)
    async with site.matcher(MATCHER_COMMIT_INTERVAL_S="0.05", MATCHER_CHUNK_MAX_RECORDS="20"):
        sending = asyncio.create_task(asyncio.to_thread(send_all, site, applications))
        looks: list[tuple[int, int]] = []

        def look() -> bool:
            committed = site.committed()[0]
            looks.append((committed, site.count(site.topics.dispatches)))
            return committed == EVENTS

        await eventually(lambda: asyncio.to_thread(look), timeout_s=120)
        await sending

    assert [] == [(committed, written) for committed, written in looks if committed > written]
    assert len({committed for committed, _ in looks}) > 3


async def test_a_restart_reads_little_again(kafka: str, topic_prefix: str) -> None:
    """Killed when all was committed, it matches nothing again."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    matcher = site.matcher()
    async with matcher:
        site.send(application_id, 1000)
        await eventually(lambda: site.committed() == {0: 1000})
        await matcher.kill()
        await matcher.start()
        site.send(application_id)
        await eventually(lambda: site.committed() == {0: 1001})

    assert 1001 == site.count(site.topics.dispatches)


async def test_another_members_commit_is_not_overtaken(kafka: str, topic_prefix: str) -> None:
    """A frozen process that wakes when its partitions have gone to another one does not set the group back."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    frozen, other = site.matcher(MATCHER_COMMIT_INTERVAL_S="2"), site.matcher()
    async with frozen:
        site.send(application_id, 100)
        await site.dispatches(100)
        frozen.freeze()
        async with other:
            events = site.send(application_id, 100)
            await eventually(lambda: site.committed() == {0: 200}, timeout_s=60)
            frozen.thaw()
            await eventually(lambda: site.members() == 2)
            more = site.send(application_id, 100)
            await eventually(lambda: site.committed() == {0: 300}, timeout_s=60)

    counts = Counter(dispatch.event_id for dispatch in await site.dispatches(300))
    assert {event.event_id for event in [*events, *more]} <= counts.keys()
    assert 300 == len(counts)


async def test_aborted_writes_are_not_events(kafka: str, topic_prefix: str) -> None:
    """A producer with transactions: what it took back is not matched, what it committed is."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}test"})
    await asyncio.to_thread(producer.init_transactions, 30)
    committed, aborted = make_event(application_id), make_event(application_id)
    async with site.matcher():
        for event, end in ((aborted, producer.abort_transaction), (committed, producer.commit_transaction)):
            producer.begin_transaction()
            producer.produce(site.topics.events.name, key=application_id, value=to_bytes(event))
            producer.flush(60)
            await asyncio.to_thread(end, 30)
        (last,) = site.send(application_id)
        dispatches = await site.dispatches(2)

    assert [committed.event_id, last.event_id] == [dispatch.event_id for dispatch in dispatches]
    assert [] == site.read_records(site.topics.dead, DeadLetter)


async def test_retention_that_was_too_short_is_told(kafka: str, topic_prefix: str) -> None:
    """Events that were gone before the matcher could read them are counted; the ends of transactions are none."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id, topic = make_id(), site.topics.events.name
    site.publish(application_id, {make_id(): {}})
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}test"})
    await asyncio.to_thread(producer.init_transactions, 30)
    matcher = site.matcher()
    async with matcher:
        site.send(application_id, 10)
        await site.dispatches(10)
    site.send(application_id, 10)
    delete_until(site, 15)
    async with matcher, aiohttp.ClientSession() as session:
        address = (await matcher.wait_ready())["metrics"]

        async def find(name: str) -> list[str]:
            async with session.get(address) as response:
                return [line.split()[-1] for line in (await response.text()).splitlines() if line.startswith(name)]

        async def is_told() -> bool:
            return await find(f'hookline_records_missing_total{{topic="{topic}"}}') == ["5.0"]

        async def is_settled() -> bool:
            return await find("hookline_lag_records{") == ["0.0"]

        for number in range(3):
            producer.begin_transaction()
            producer.produce(topic, key=application_id, value=to_bytes(make_event(application_id)))
            await asyncio.to_thread(producer.commit_transaction, 30)
            await site.dispatches(16 + number)
        # the end of a transaction is no event: it waits for nothing, and does not grow old
        await eventually(is_settled)
        site.send(application_id)
        await site.dispatches(19)

        await eventually(is_told)
        await eventually(is_settled)

        async def is_young() -> bool:
            return await find("hookline_retention_used_ratio{") == ["0.0"]

        await eventually(is_young)

    assert 1 == matcher.log().count("records_missing")


def delete_until(site: MatcherSite, offset: int) -> None:
    """Delete records like retention."""
    admin = AdminClient({"bootstrap.servers": site.config.bootstrap_servers}, logger=None)
    for future in admin.delete_records([TopicPartition(site.topics.events.name, 0, offset)]).values():
        future.result(60)


@contextmanager
def joined(site: MatcherSite, *, on_join: Callable[[], None]) -> Iterator[None]:
    """Another member of the matcher's group, which gets no partitions; `on_join` is called at that very moment."""
    stopping = threading.Event()

    def join() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": site.config.bootstrap_servers,
                "client.id": "zzz",  # sorted behind the matcher, which has the only partition
                "group.id": site.group,
                "partition.assignment.strategy": "roundrobin",
                "enable.auto.commit": False,
            },
            logger=None,
        )

        def on_assign(_: Consumer, partitions: list[TopicPartition]) -> None:
            assert [] == partitions
            on_join()

        consumer.subscribe([site.topics.events.name], on_assign=on_assign)
        while not stopping.is_set():
            consumer.poll(0.01)
        consumer.close()

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
