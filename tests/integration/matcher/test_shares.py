"""Bounds of what one application has in the deliveries topic: the rest waits in a retry topic."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.core.events.bundle import SUBSCRIPTIONS_MAX, read_deliveries
from pipeline.core.events.records import Bundle, Delivery, EndpointState, Event, Record, to_bytes
from pipeline.matcher.deliver_progress import DeliverProgress
from pipeline.topics import Topic
from tests.integration.matcher.matcher_site import MatcherSite, make_id
from tests.support.eventually import eventually

SUBSCRIPTIONS = 300
UNSETTLED_MAX = 1000
FEW = 400


async def prepare(kafka: str, topic_prefix: str, *, are_failing: bool = False) -> tuple[MatcherSite, str, str]:
    """A site, an application whose events match `SUBSCRIPTIONS` subscriptions, and one with a single subscription.

    `are_failing`: do the endpoints of the former fail, as deliver has published it?
    """
    site = await MatcherSite(kafka, topic_prefix, partitions=2).prepare()
    wide, narrow = make_id(), make_id()
    subscription_ids = [make_id() for _ in range(SUBSCRIPTIONS)]
    site.publish(wide, {each: {} for each in subscription_ids})
    if are_failing:
        for subscription_id in subscription_ids:
            state = EndpointState(
                subscription_id=subscription_id,
                application_id=wide,
                endpoint_version=1,
                changed_at_us=1,
                failing_since_us=1,
            )
            site.write_bytes(site.topics.endpoint_states, subscription_id.encode(), to_bytes(state))
        site.flush()
    site.publish(narrow, {make_id(): {}})
    return site, wide, narrow


def list_excess(site: MatcherSite, *topics: Topic) -> list[Delivery]:
    """The deliveries in retry topics, those of bundles as well."""
    records: list[Record] = []
    for topic in topics or site.topics.of_excess():
        records += [*site.read_records(topic, Bundle), *site.read_records(topic, Delivery)]
    return [each for record in records for each in read_deliveries(to_bytes(record))]


def commit_as_deliver(site: MatcherSite, ends: Mapping[int, int]) -> None:
    """Say that deliver has settled all before `ends`."""
    config = site.config
    consumer = Consumer({"bootstrap.servers": config.bootstrap_servers, "group.id": f"{config.topic_prefix}deliver"})
    try:
        topic = site.topics.deliveries
        offsets = [TopicPartition(topic.name, partition, end) for partition, end in ends.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    finally:
        consumer.close()


@pytest.mark.parametrize("are_failing", [False, True], ids=["well", "failing"])
async def test_a_fan_out_leaves_room_for_the_deliveries_of_others(
    kafka: str, topic_prefix: str, are_failing: bool
) -> None:
    """Half of what may be there is the most that one application has; each match is written once, here or there.

    The more is written elsewhere, the longer it waits; in bundles, if the endpoints fail.
    """
    site, wide, narrow = await prepare(kafka, topic_prefix, are_failing=are_failing)
    async with site.matcher(MATCHER_UNSETTLED_MAX=str(UNSETTLED_MAX)):
        flood = site.send(wide, 10)
        await site.dispatches(10)
        others = site.send(narrow, 50)
        dispatches = await site.dispatches(60)
        matches = sum(len(dispatch.matches) for dispatch in dispatches)

        def list_all() -> list[Delivery]:
            deliveries = [*site.read_records(site.topics.deliveries, Delivery), *list_excess(site)]
            assert matches <= len(deliveries)
            return deliveries

        found = await eventually(list_all)
        shorter, longer, _ = (list_excess(site, topic) for topic in site.topics.of_excess())
        there = Counter(each.application_id for each in site.read_records(site.topics.deliveries, Delivery))

    assert 10 * SUBSCRIPTIONS + 50 == matches
    assert {match["delivery_id"]: 1 for dispatch in dispatches for match in dispatch.matches} == Counter(
        each.delivery_id for each in found
    )
    assert {wide: UNSETTLED_MAX // 2, narrow: 50} == there
    assert 0 <= len(shorter) - UNSETTLED_MAX < SUBSCRIPTIONS_MAX  # the last bundle may be too much
    assert 10 * SUBSCRIPTIONS - UNSETTLED_MAX // 2 == len(shorter) + len(longer)
    records = sum(site.count(topic) for topic in site.topics.of_excess())
    assert records < len(shorter + longer) / 10 if are_failing else records == len(shorter + longer)
    assert {each.event_id for each in [*flood, *others]} == {each.event_id for each in found}


async def test_what_deliver_has_settled_makes_room(kafka: str, topic_prefix: str) -> None:
    """Deliver commits, and later deliveries of the same application go to the deliveries topic again."""
    site, wide, _ = await prepare(kafka, topic_prefix)
    async with site.matcher(MATCHER_UNSETTLED_MAX=str(UNSETTLED_MAX)):
        site.send(wide, 5)
        await eventually(lambda: len(list_excess(site)) == 5 * SUBSCRIPTIONS - UNSETTLED_MAX // 2)
        before = site.count(site.topics.deliveries)
        await asyncio.to_thread(commit_as_deliver, site, site.ends(site.topics.deliveries))

        async def lands_there() -> bool:
            sent: list[Event] = site.send(wide)
            await site.dispatches(site.count(site.topics.events))
            landed = [each.event_id for each in site.read_records(site.topics.deliveries, Delivery)]
            return landed.count(sent[0].event_id) == SUBSCRIPTIONS

        assert await eventually(lands_there)

    assert UNSETTLED_MAX // 2 == before


async def test_a_flood_of_another_writer_takes_no_room(kafka: str, topic_prefix: str) -> None:
    """Deliver settles all in turn, and what others write is never all settled: what this matcher wrote is forgotten.

    The other writer: another matcher, this one before its restart, a gateway that replays.
    """
    site, _, narrow = await prepare(kafka, topic_prefix)
    topic = site.topics.deliveries

    def write(count: int) -> dict[int, int]:
        """Write deliveries of anyone; where the partitions end then."""
        for number in range(count):
            site.write_bytes(topic, f"{number}".encode(), b"of anyone")
        site.flush()
        return site.ends(topic)

    progress = DeliverProgress(site.config, topic, bound_min=2 * FEW, count_on_way=lambda: 0)
    commit_as_deliver(site, dict.fromkeys(site.ends(topic), 0))
    looking = asyncio.create_task(progress.run())
    try:
        assert all(progress.outstanding.take(narrow, 100) for _ in range(FEW))
        ends = deque([write(FEW), write(2 * FEW)])  # deliver is two rounds behind

        async def is_forgotten() -> bool:
            ends.append(await asyncio.to_thread(write, FEW))
            await asyncio.to_thread(commit_as_deliver, site, ends.popleft())
            assert 0 == len(progress.outstanding)
            return True

        assert await eventually(is_forgotten)
    finally:
        looking.cancel()
        progress.close()
