"""The matcher process on a real Kafka."""

import asyncio
import time
from collections import Counter

import aiohttp
import pytest
from confluent_kafka import Producer

from pipeline.core.events.content_types import BINARY_TYPE
from pipeline.core.events.ids import derive_delivery_id
from pipeline.core.events.records import DeadLetter, Event, to_bytes
from pipeline.core.log.partition import locate_partition
from tests.integration.matcher.matcher_site import EVENT_TYPE, MatcherSite, deliveries_by_event, make_event, make_id
from tests.support.eventually import eventually

RETENTION_S = 7 * 86_400  # what is not set


async def let_a_millisecond_pass() -> None:
    """Kafka's times have no finer steps; a change by the API is never answered within one."""
    now_ms = time.time_ns() // 1_000_000
    await eventually(lambda: time.time_ns() // 1_000_000 > now_ms)


async def test_an_event_becomes_a_delivery_for_each_subscription_it_matches(kafka: str, topic_prefix: str) -> None:
    """Labels select; each match is one delivery with the payload byte for byte, all of them are one dispatch."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    application_id, everything, eu, us = (make_id() for _ in range(4))
    site.publish(application_id, {everything: {}, eu: {"region": "eu"}, us: {"region": "us"}}, version=7)
    payload = bytes(range(256))
    async with site.matcher():
        (event,) = site.send(application_id, payload=payload, payload_content_type=BINARY_TYPE)
        (dispatch,) = await site.dispatches(1)
        deliveries = await site.deliveries(2)

    expected = {each: derive_delivery_id(event.event_id, each, application_id) for each in (everything, eu)}
    assert expected == {delivery.subscription_id: delivery.delivery_id for delivery in deliveries}
    assert expected == {match["subscription_id"]: match["delivery_id"] for match in dispatch.matches}
    assert {(payload, event.event_type, event.received_at_us, 1)} == {
        (each.payload, each.event_type, each.received_at_us, each.attempt_number) for each in deliveries
    }
    assert 7 == dispatch.routes_version
    (stored,) = site.read(site.topics.events)
    assert (stored.partition(), stored.offset()) == (dispatch.event_partition, dispatch.event_offset)
    # the broker's time of the event is what decides its day, in the archive and for ever
    stored_at_us = stored.timestamp()[1] * 1000
    assert {stored_at_us} == {dispatch.appended_at_us, *(each.appended_at_us for each in deliveries)}


async def test_an_event_that_matches_nothing_is_dispatched_all_the_same(kafka: str, topic_prefix: str) -> None:
    """A dispatch says that it matched no subscription, so that it is not mistaken for an event still on its way."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {"region": "us"}})
    async with site.matcher():
        (event,) = site.send(application_id)
        (dispatch,) = await site.dispatches(1)

    assert (event.event_id, []) == (dispatch.event_id, dispatch.matches)
    assert 0 == site.count(site.topics.deliveries)
    assert 0 == site.count(site.topics.dead)


async def test_records_are_where_every_client_looks_for_them(kafka: str, topic_prefix: str) -> None:
    """Deliveries lie in the partition of their subscription's id, dispatches in that of their application's."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    # so many that no partition is left out by chance
    applications = {make_id(): [make_id(), make_id()] for _ in range(40)}
    for application_id, subscription_ids in applications.items():
        site.publish(application_id, {each: {} for each in subscription_ids})
    async with site.matcher():
        for application_id in applications:
            site.send(application_id)
        await site.dispatches(40)
        await site.wait_for(site.topics.deliveries, 80)

    for topic in (site.topics.events, site.topics.routes, site.topics.dispatches, site.topics.deliveries):
        messages = site.read(topic)
        keys = [message.key() or b"" for message in messages]
        expected = [locate_partition(key, site.config.partitions) for key in keys]
        assert expected == [message.partition() for message in messages]
        # all of them are used, or this would have shown nothing
        assert site.config.partitions == len(set(expected))


async def test_what_cannot_be_matched_is_dead_with_reason_and_coordinates(kafka: str, topic_prefix: str) -> None:
    """Poison of every kind is put aside, says where it came from, and stops nothing behind it."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id, deleted_id = make_id(), make_id()
    site.publish(application_id, {make_id(): {}})
    site.publish(deleted_id, {make_id(): {}}, deleted=True)
    key = application_id.encode()
    stranger = make_event(make_id())
    untyped = make_event(application_id, event_type="never.heard.of")
    long_type = make_event(application_id, event_type="x" * 100_000)
    poison: list[tuple[bytes | None, bytes | None, str]] = [
        (None, None, "undecodable"),
        (key, b"", "undecodable"),
        (key, b"junk", "undecodable"),
        (b"\xff\xfe", b"\xc3\x01" + bytes(20), "undecodable"),
        (key, b'{"x":' * 100_000, "undecodable"),
        (key, b'{"application_id": NaN}', "undecodable"),
        (None, to_bytes(make_event(application_id)), "wrong_key"),
        (stranger.application_id.encode(), to_bytes(stranger), "unknown_application"),
        (deleted_id.encode(), to_bytes(make_event(deleted_id)), "unknown_application"),
        (key, to_bytes(untyped), "unknown_event_type"),
        (key, to_bytes(long_type), "invalid_event"),
        (key, to_bytes(make_event(application_id, event_id="7")), "invalid_event"),
    ]
    async with site.matcher():
        for poison_key, value, _ in poison:
            site.write_bytes(site.topics.events, poison_key, value)
        site.flush()
        (event,) = site.send(application_id)
        (dispatch,) = await site.dispatches(1)
        await site.wait_for(site.topics.dead, len(poison))
        letters = sorted(site.read_records(site.topics.dead, DeadLetter), key=lambda letter: letter.source_offset)

    assert event.event_id == dispatch.event_id
    assert [reason for _, _, reason in poison] == [letter.reason for letter in letters]
    assert [(0, offset) for offset in range(len(poison))] == [
        (letter.source_partition, letter.source_offset) for letter in letters
    ]
    assert [(key, value) for key, value, _ in poison] == [
        (letter.source_key, letter.source_value) for letter in letters
    ]
    assert {site.topics.events.name} == {letter.source_topic for letter in letters}
    assert untyped.event_id == letters[9].event_id
    assert application_id == letters[9].application_id
    assert all(letter.detail for letter in letters)


async def test_headers_of_any_size_do_no_harm(kafka: str, topic_prefix: str) -> None:
    """The matcher ignores headers: a megabyte of them, repeated names and values that are no text are passed over."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1, message_max_bytes=2 * 1024 * 1024).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    event = make_event(application_id)
    headers = [("x", b"\xff" * 1_000_000), ("x", None), ("", b"")]
    async with site.matcher():
        site.write_bytes(site.topics.events, application_id.encode(), to_bytes(event), headers=headers)
        site.flush()
        (dispatch,) = await site.dispatches(1)

    assert event.event_id == dispatch.event_id


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_producers_choose_their_own_compression(kafka: str, topic_prefix: str, compression: str) -> None:
    """Events of an outside producer are read, whatever codec it uses."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1, compression_type=compression).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    async with site.matcher():
        events = site.send(application_id, 50, payload=b'{"x":"' + b"y" * 2000 + b'"}')
        dispatches = await site.dispatches(50)

    assert [event.event_id for event in events] == [dispatch.event_id for dispatch in dispatches]


async def test_large_records_pass_or_are_put_aside(kafka: str, topic_prefix: str) -> None:
    """An event that just fits is delivered. What fits into one record, but not with what is added to it on the way,
    or only because it was compressed, is dead with its reason; poison as large stops nothing.
    """
    site = await MatcherSite(
        kafka, topic_prefix, partitions=1, compression_type="zstd", message_max_bytes=64 * 1024 * 1024
    ).prepare()
    application_id, subscription_id = make_id(), make_id()
    site.publish(application_id, {subscription_id: {}})
    key, record_max_bytes = application_id.encode(), site.config.record_max_bytes
    fitting = make_event(application_id, payload=b"x" * (record_max_bytes - 16 * 1024))
    tight = make_event(application_id, payload=b"x" * (record_max_bytes - 500))
    inflated = make_event(application_id, payload=b"x" * (5 * record_max_bytes))
    async with site.matcher(MATCHER_PAYLOAD_INLINE_MAX_BYTES=str(record_max_bytes)):
        for value in (to_bytes(fitting), to_bytes(tight), to_bytes(inflated), b"j" * (5 * record_max_bytes)):
            site.write_bytes(site.topics.events, key, value)
        site.write_bytes(site.topics.events, b"k" * record_max_bytes, b"junk")
        site.flush()
        site.send(application_id)
        await site.dispatches(2)
        deliveries = await site.deliveries(2)
        # the one with another key has its turn while the large ones take long
        await site.wait_for(site.topics.dead, 4)
        letters = sorted(site.read_records(site.topics.dead, DeadLetter), key=lambda letter: letter.source_offset)

    assert fitting.payload == deliveries[0].payload
    assert 2 == len(deliveries)
    assert ["invalid_event", "invalid_event", "undecodable", "undecodable"] == [letter.reason for letter in letters]
    assert [tight.event_id, inflated.event_id, None, None] == [letter.event_id for letter in letters]
    assert [1, 2, 3, 4] == [letter.source_offset for letter in letters]


async def test_an_event_with_ten_thousand_matches(kafka: str, topic_prefix: str) -> None:
    """More than any buffer holds at once: it goes out piece by piece, and the process takes no more than its bounds."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    application_id = make_id()
    subscription_ids = [make_id() for _ in range(10_000)]
    site.publish(application_id, {each: {} for each in subscription_ids})
    async with site.matcher(KAFKA_PRODUCE_BUFFER_MAX_BYTES=str(1024 * 1024), KAFKA_RECORD_MAX_BYTES=str(2**22)):
        events = site.send(application_id, 5, payload=b"x" * 2000)
        dispatches = await site.dispatches(5, timeout_s=60)
        deliveries = await site.deliveries(5 * len(subscription_ids), timeout_s=60)

    all_of_them = Counter(subscription_ids)
    assert {event.event_id: all_of_them for event in events} == deliveries_by_event(deliveries)
    assert {10_000} == {len(dispatch.matches) for dispatch in dispatches}


async def test_an_event_behind_a_marker_is_matched_with_the_new_routes(kafka: str, topic_prefix: str) -> None:
    """The new routes apply, however soon the event follows. Versions appended in its millisecond may apply as well."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id, subscription_ids = make_id(), [make_id() for _ in range(10)]
    async with site.matcher(MATCHER_ROUTES_WAIT_S="30"):
        for version in range(1, 11):
            site.publish(
                application_id, {each: {} for each in subscription_ids[:version]}, version=version, marker=True
            )
            site.send(application_id)
        dispatches = await site.dispatches(10)

    assert 10 == len(dispatches)
    published_at_us = [message.timestamp()[1] * 1000 for message in site.read(site.topics.routes)]
    assert 10 == len(published_at_us)
    for version, dispatch in enumerate(dispatches, start=1):
        newest = sum(at_us <= dispatch.appended_at_us for at_us in published_at_us)
        assert version <= dispatch.routes_version <= newest
        assert dispatch.routes_version == len(dispatch.matches)


async def test_a_marker_of_routes_that_never_come_is_waited_for_once(kafka: str, topic_prefix: str) -> None:
    """One application's lost routes, or a foreign producer's marker, hold up no other application, and are logged.

    Routes that are not in their topic by now will not come: the marker is written when they are there.
    """
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    matcher = site.matcher(MATCHER_ROUTES_WAIT_S="300")
    async with matcher:
        for _ in range(20):
            site.mark(make_id(), 7)
        site.mark(application_id, 99)
        (event,) = site.send(application_id)
        (dispatch,) = await site.dispatches(1)

    assert (event.event_id, 1) == (dispatch.event_id, dispatch.routes_version)
    assert 21 == matcher.log().count("routes_missing")


async def test_a_restart_knows_which_routes_applied(kafka: str, topic_prefix: str) -> None:
    """Events that waited while no matcher ran get the routes of their place in the log, not today's."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id, one, two, three = (make_id() for _ in range(4))
    site.publish(application_id, {one: {}}, version=1, marker=True)
    async with site.matcher():
        site.send(application_id)
        await site.dispatches(1)
    changes: dict[int, dict[str, dict[str, str]]] = {2: {two: {}}, 3: {three: {}}, 4: {}}
    for version, subscriptions in changes.items():
        site.send(application_id)
        await let_a_millisecond_pass()
        site.publish(application_id, subscriptions, version=version, deleted=version == 4, marker=True)
    async with site.matcher():
        dispatches = await site.dispatches(4)

    assert [(1, [one]), (1, [one]), (2, [two]), (3, [three])] == [
        (dispatch.routes_version, [match["subscription_id"] for match in dispatch.matches]) for dispatch in dispatches
    ]
    assert 0 == site.count(site.topics.dead)


async def test_a_repeated_event_is_matched_once(kafka: str, topic_prefix: str) -> None:
    """A producer that sends an id again causes no second delivery; another application may use the same id."""
    site = await MatcherSite(kafka, topic_prefix).prepare()
    one, other = make_id(), make_id()
    for application_id in (one, other):
        site.publish(application_id, {make_id(): {}})
    async with site.matcher():
        (event,) = site.send(one)
        site.send(one, 3, event_id=event.event_id)
        site.send(other, event_id=event.event_id)
        site.send(one)
        dispatches = await site.dispatches(3)

    assert Counter({(one, event.event_id): 1, (other, event.event_id): 1}) == Counter(
        (each.application_id, each.event_id) for each in dispatches if each.event_id == event.event_id
    )
    assert 3 == len(dispatches)


async def test_json_events_are_matched(kafka: str, topic_prefix: str) -> None:
    """A producer without Avro: the event's id comes from its place in the log."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id, subscription_id = make_id(), make_id()
    site.publish(application_id, {subscription_id: {"region": "eu"}})
    value = (
        f'{{"application_id": "{application_id}", "event_type": "{EVENT_TYPE}", "payload": "{{}}",'
        ' "payload_content_type": "application/json", "labels": {"region": "eu"}}'
    )
    async with site.matcher():
        site.write_bytes(site.topics.events, application_id.encode(), value.encode())
        site.flush()
        (dispatch,) = await site.dispatches(1)

    assert [subscription_id] == [match["subscription_id"] for match in dispatch.matches]


async def test_a_stop_leaves_nothing_to_be_repeated(kafka: str, topic_prefix: str) -> None:
    """SIGTERM in the middle of a stream: what was taken is settled and committed, the rest is the next one's.

    The stream goes on until the process has ended, so that there is a rest on any machine.
    """
    site = await MatcherSite(kafka, topic_prefix).prepare()
    applications = [make_id() for _ in range(8)]
    for application_id in applications:
        site.publish(application_id, {make_id(): {}})

    def send(count: int) -> list[Event]:
        return [event for application_id in applications for event in site.send(application_id, count)]

    matcher = site.matcher(MATCHER_COMMIT_INTERVAL_S="60", MATCHER_CHUNK_MAX_RECORDS="50")
    async with matcher:
        events = send(100)
        await site.wait_for(site.topics.dispatches, 100)
        stopping = asyncio.create_task(matcher.stop())
        while not stopping.done():
            events += send(10)
            await asyncio.wait({stopping}, timeout=0.02)
        events += send(10)
        assert 0 == stopping.result()
        stopped_at = site.committed()
        matched = site.count(site.topics.dispatches)
        assert sum(stopped_at.values()) == matched < len(events)
        await matcher.start()
        dispatches = await site.dispatches(len(events))

    assert Counter(event.event_id for event in events) == Counter(each.event_id for each in dispatches)


async def test_it_can_be_stopped_before_it_has_partitions(kafka: str, topic_prefix: str) -> None:
    """A process that still joins its group is told to stop, and does."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    async with site.matcher():
        second = site.matcher()
        await second.start(wait_ready=False)
        await eventually(lambda: site.members() == 2)

        assert 0 == await second.stop()


async def test_more_matchers_than_partitions(kafka: str, topic_prefix: str) -> None:
    """One that gets nothing is ready, commits nothing, and takes over when the other is gone."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    first, second = site.matcher(), site.matcher()
    async with first, second:
        events = site.send(application_id, 100)
        await site.dispatches(100)
        assert 0 == await first.stop()
        events += site.send(application_id, 100)
        dispatches = await site.dispatches(200)

    assert {event.event_id for event in events} == {dispatch.event_id for dispatch in dispatches}


async def test_a_missing_topic_is_told_at_the_start(kafka: str, topic_prefix: str) -> None:
    """The matcher refuses and says how to create the topic, instead of waiting for one that was never made."""
    matcher = MatcherSite(kafka, topic_prefix).matcher()
    await matcher.start(wait_ready=False)

    assert 2 == await matcher.wait()
    assert "hookline topics apply" in matcher.log()


async def test_lag_is_measured(kafka: str, topic_prefix: str) -> None:
    """Metrics show waiting records, and how near retention is to dropping them; with all matched both are 0."""
    site = await MatcherSite(kafka, topic_prefix, partitions=1).prepare()
    application_id = make_id()
    site.publish(application_id, {make_id(): {}})
    matcher = site.matcher()
    # what lies behind the first record of an open transaction cannot be read
    holding = Producer({"bootstrap.servers": kafka, "transactional.id": topic_prefix})
    await asyncio.to_thread(holding.init_transactions, 30)
    async with matcher, aiohttp.ClientSession() as session:
        address = (await matcher.wait_ready())["metrics"]

        async def find_lag() -> str:
            async with session.get(address) as response:
                (line,) = [
                    line for line in (await response.text()).splitlines() if line.startswith("hookline_runnable_lag")
                ]
                return line.split()[-1]

        site.send(application_id, 10)
        await site.dispatches(10)
        holding.begin_transaction()
        holding.produce(site.topics.events.name, key=application_id.encode(), value=b"taken back")
        await asyncio.to_thread(holding.flush, 30)
        site.send(application_id, 30)

        async def waits() -> bool:
            return await find_lag() == "31.0"

        async def is_done() -> bool:
            return await find_lag() == "0.0"

        async def find_share() -> float:
            async with session.get(address) as response:
                (line,) = [
                    line for line in (await response.text()).splitlines() if line.startswith("hookline_retention_used")
                ]
                return float(line.split()[-1])

        async def grows_old() -> bool:
            return 1 / RETENTION_S < await find_share() < 60 / RETENTION_S

        await eventually(waits)
        await eventually(grows_old)
        await asyncio.to_thread(holding.abort_transaction, 30)
        await eventually(is_done)

        async def is_young() -> bool:
            return await find_share() == 0.0

        await eventually(is_young)
