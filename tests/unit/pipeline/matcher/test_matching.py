import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from pipeline.core.events.bundle import SUBSCRIPTIONS_MAX, read_deliveries
from pipeline.core.events.dead_letters import DETAIL_MAX_CHARS
from pipeline.core.events.event import parse_event
from pipeline.core.events.ids import derive_delivery_id, derive_record_id
from pipeline.core.events.operational import OPERATIONAL_TYPES
from pipeline.core.events.records import (
    Bundle,
    DeadLetter,
    Delivery,
    Dispatch,
    Event,
    Record,
    from_bytes,
    to_bytes,
    write_as,
)
from pipeline.core.log.checksum import choose_sum
from pipeline.core.routing.routes import AppliedRoutes, RoutesHistory
from pipeline.matcher import matching
from pipeline.matcher.matching import PORTION_MAX_BYTES, Matcher, ToWrite
from pipeline.matcher.outstanding import Outstanding
from pipeline.metrics import Metrics
from pipeline.topics import Topics, declare_topics
from tests.unit.pipeline.matcher.records import (
    APPLICATION,
    EVENT_TYPE,
    NOW_US,
    FixedRoutes,
    StoredRecord,
    make_event,
    make_marker,
    make_routes,
    store,
)

TOPICS = declare_topics(prefix="t.", partitions=4, event_retention_s=3600)
MATCHED_US = NOW_US + 7
RECORD_MAX_BYTES = 64 * 1024
INLINE_MAX_BYTES = 30_000
ANYTHING, EU, US = "s-any", "s-eu", "s-us"


def make_matcher(
    routes: FixedRoutes,
    *,
    recent_ids_max: int = 100,
    unsettled_max: int = 1000,
    metrics: Metrics | None = None,
    parse: Any = parse_event,
    topics: Topics = TOPICS,
    is_failing: Callable[[str], bool] = lambda _: False,
) -> Matcher:
    return Matcher(
        topics,
        routes,
        metrics or Metrics("matcher"),
        outstanding=Outstanding(bound_min=unsettled_max),
        recent_ids_max=recent_ids_max,
        record_max_bytes=RECORD_MAX_BYTES,
        payload_inline_max_bytes=INLINE_MAX_BYTES,
        routes_wait_s=1,
        clock_us=lambda: MATCHED_US,
        parse=parse,
        is_failing=is_failing,
    )


def known_routes() -> FixedRoutes:
    routes = FixedRoutes()
    routes.publish(make_routes({ANYTHING: {}, EU: {"region": "eu"}, US: {"region": "us"}}))
    return routes


async def match(matcher: Matcher, records: Iterable[StoredRecord]) -> list[ToWrite]:
    return [written async for portion in matcher.match(records) for written in portion]


def read(written: Iterable[ToWrite]) -> list[tuple[str, bytes, Record]]:
    return [(topic.name.removeprefix("t."), key, from_bytes(value)) for topic, key, value, *_ in written]


class FailingRoutes(FixedRoutes):
    """Fail for one application, as no code foresaw."""

    def at(self, application_id: str, appended_at_us: int, version_min: int) -> AppliedRoutes | None:
        if application_id != APPLICATION:
            raise TypeError("an unforeseen error")
        return super().at(application_id, appended_at_us, version_min)

    async def wait_for(self, application_id: str, version: int, timeout_s: float) -> bool:
        raise TypeError("an unforeseen error")


def fail(*_: object, **__: object) -> Event:
    raise TypeError("an unforeseen error")


async def test_an_unforeseen_exception_is_one_dead_letter() -> None:
    """An exception in routes or in following a marker makes one letter: the events behind it are matched."""
    metrics, routes = Metrics("matcher"), FailingRoutes()
    routes.publish(make_routes({ANYTHING: {}}))
    records = [
        store(make_event(application_id=str(UUID(int=99))), offset=1),
        store(make_marker(7), offset=2),
        store(make_event(), offset=3),
    ]
    with capture_logs():
        written = read(await match(make_matcher(routes, metrics=metrics), records))

    assert ["dead", "dead", "deliveries", "dispatches"] == [topic for topic, _, _ in written]
    letters = [record for _, _, record in written if isinstance(record, DeadLetter)]
    assert [("internal", 1), ("internal", 2)] == [(letter.reason, letter.source_offset) for letter in letters]
    assert "TypeError" in letters[0].detail
    assert 2 == metrics.registry.get_sample_value("hookline_internal_errors_total")


async def test_an_event_that_failed_in_the_middle_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redriven, it is matched, and not taken for a repeat of itself."""
    failures = ["once"]

    def encode_later(record: Record) -> bytes:
        if isinstance(record, Dispatch) and failures:
            raise TypeError(failures.pop())
        return to_bytes(record)

    monkeypatch.setattr("pipeline.matcher.matching.to_bytes", encode_later)
    matcher, event = make_matcher(known_routes()), make_event()
    with capture_logs():
        written = read(await match(matcher, [store(event, offset=1), store(event, offset=2), store(event, offset=3)]))

    assert ["dead", "dispatches"] == [topic for topic, _, _ in written if topic != "deliveries"]


async def test_an_unforeseen_exception_while_reading_is_one_dead_letter() -> None:
    """Any record may raise."""
    with capture_logs():
        written = read(await match(make_matcher(known_routes(), parse=fail), [store(make_event(), offset=1)]))

    assert ["internal"] == [record.reason for _, _, record in written if isinstance(record, DeadLetter)]


async def test_filters_that_cost_too_much_are_one_dead_letter() -> None:
    """An event is given up whose application's filters would hold up all others; the next one is matched."""
    history = RoutesHistory()
    history.put_type(EVENT_TYPE, 1)
    for number in range(40):
        conditions = [{"path": "", "op": "contains", "value": 100 * number + each} for each in range(32)]
        payload_filter = json.dumps({"not": {"any": conditions}})
        history.put_rule(
            f"s{number}", 1, enabled=True, event_types=[EVENT_TYPE], labels={}, payload_filter=payload_filter
        )
    routes = FixedRoutes()
    routes.versions[APPLICATION] = {1: AppliedRoutes(history, 1, deleted=False)}
    events = [make_event(1, payload=json.dumps([0.5] * 10_000).encode()), make_event(2, payload=b"[]")]
    costly = make_event(3, payload=b"[" + b"7," * 20_000 + b"-1]")
    written = read(await match(make_matcher(routes), [store(each) for each in (costly, *events)]))

    letters = [record for _, _, record in written if isinstance(record, DeadLetter)]
    assert [("invalid_event", costly.event_id)] == [(letter.reason, letter.event_id) for letter in letters]
    assert "payload filters" in letters[0].detail
    assert 80 == len([record for _, _, record in written if isinstance(record, Delivery)])


async def test_an_event_becomes_deliveries_and_one_dispatch() -> None:
    """One delivery for each subscription that selects it, keyed by it; then the dispatch, keyed by the application."""
    event = make_event()
    written = read(await match(make_matcher(known_routes()), [store(event, offset=42)]))
    ids = {each: derive_delivery_id(event.event_id, each, APPLICATION) for each in (ANYTHING, EU)}
    deliveries = [
        (
            "deliveries",
            each.encode(),
            Delivery(
                delivery_id=delivery_id,
                subscription_id=each,
                application_id=APPLICATION,
                event_id=event.event_id,
                event_type=event.event_type,
                payload=event.payload,
                payload_content_type=event.payload_content_type,
                appended_at_us=NOW_US,
                received_at_us=event.received_at_us,
                matched_at_us=MATCHED_US,
                content_crc32=choose_sum(event),
                routes_version=1,
            ),
        )
        for each, delivery_id in ids.items()
    ]
    dispatch = Dispatch(
        application_id=APPLICATION,
        event_id=event.event_id,
        event_type=event.event_type,
        event_partition=3,
        event_offset=42,
        appended_at_us=NOW_US,
        received_at_us=event.received_at_us,
        matched_at_us=MATCHED_US,
        routes_version=1,
        matches=[{"subscription_id": each, "delivery_id": delivery_id} for each, delivery_id in ids.items()],
        content_crc32=choose_sum(event),
    )

    assert [*deliveries, ("dispatches", APPLICATION.encode(), dispatch)] == written


@pytest.mark.parametrize(("size", "is_claim_check"), [(INLINE_MAX_BYTES, False), (INLINE_MAX_BYTES + 1, True)])
async def test_deliveries_of_a_large_payload_name_the_event(size: int, is_claim_check: bool) -> None:
    """Each names the event's record, with the payload's size and checksum; one of a smaller payload repeats it."""
    event = make_event(payload=b"x" * size, payload_content_type="text/plain")
    written = read(await match(make_matcher(known_routes()), [store(event, offset=42)]))
    deliveries = [record for _, _, record in written if isinstance(record, Delivery)]

    assert 2 == len(deliveries)
    for delivery in deliveries:
        assert choose_sum(event) == delivery.content_crc32
        assert (b"" if is_claim_check else event.payload) == delivery.payload
        assert ((3, 42, size) if is_claim_check else (-1, -1, 0)) == (
            delivery.payload_partition,
            delivery.payload_offset,
            delivery.payload_bytes,
        )


async def test_an_event_nobody_wants_is_dispatched() -> None:
    """The event's type is known and no subscription selects it: a dispatch without matches, and no dead letter."""
    routes = FixedRoutes()
    routes.publish(make_routes({US: {"region": "us"}}))
    ((topic, _, dispatch),) = read(await match(make_matcher(routes), [store(make_event())]))

    assert "dispatches" == topic
    assert isinstance(dispatch, Dispatch)
    assert [] == dispatch.matches


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (make_event(event_type="un.heard.of"), "unknown_event_type"),
        (make_event(application_id="0190f1a2-0000-7000-8000-00000000dead"), "unknown_application"),
        (make_event(payload=b"x" * RECORD_MAX_BYTES), "invalid_event"),
        (make_event(event_type=""), "invalid_event"),
        (make_event(content_crc32=1), "corrupt"),
    ],
)
async def test_what_is_refused_is_dead(event: object, reason: str) -> None:
    """The letter has the reason, its coordinates, what it was, and whose it was."""
    stored = store(event, offset=7)  # type: ignore[arg-type]  # parametrized values have no types
    ((topic, key, letter),) = read(await match(make_matcher(known_routes()), [stored]))

    assert "dead" == topic
    assert stored.key == key
    assert isinstance(letter, DeadLetter)
    assert letter == DeadLetter(
        dead_id=derive_record_id("t.events", 3, 7, NOW_US),
        reason=reason,
        detail=letter.detail,
        source_topic="t.events",
        source_partition=3,
        source_offset=7,
        source_appended_at_us=NOW_US,
        source_key=stored.key,
        source_value=stored.value if len(stored.value or b"") < RECORD_MAX_BYTES else None,
        application_id=event.application_id,  # type: ignore[attr-defined]  # as above
        event_id=event.event_id,  # type: ignore[attr-defined]  # as above
        died_at_us=MATCHED_US,
    )


async def test_events_of_a_deleted_application_are_dead() -> None:
    """The events are dead, whatever the application's routes were."""
    routes = FixedRoutes()
    routes.publish(make_routes({ANYTHING: {}}, deleted=True))
    ((_, _, letter),) = read(await match(make_matcher(routes), [store(make_event())]))

    assert isinstance(letter, DeadLetter)
    assert "unknown_application" == letter.reason


@pytest.mark.parametrize("event_type", sorted(OPERATIONAL_TYPES))
async def test_our_own_event_types_need_not_be_declared(event_type: str) -> None:
    """Operational events are known in every application, wanted or not."""
    ((topic, _, _),) = read(await match(make_matcher(known_routes()), [store(make_event(event_type=event_type))]))

    assert "dispatches" == topic


async def test_a_repeat_is_dropped() -> None:
    """A repeat has a known id of the same application, within the window; another application's is another event."""
    other = "0190f1a2-0000-7000-8000-00000000beef"
    routes = known_routes()
    routes.publish(make_routes({ANYTHING: {}}, application_id=other))
    metrics = Metrics("matcher")
    matcher = make_matcher(routes, metrics=metrics)
    first = await match(matcher, [store(make_event(1)), store(make_event(1)), store(make_event(2))])
    again = await match(matcher, [store(make_event(1)), store(make_event(1, application_id=other))])

    assert 2 == sum(topic is TOPICS.dispatches for topic, *_ in first)
    assert [other.encode()] == [key for topic, key, *_ in again if topic is TOPICS.dispatches]
    assert b"hookline_events_repeated_total 2.0" in generate_latest(metrics.registry)


async def test_what_was_refused_may_come_again() -> None:
    """Redriven once its event type exists, it is an event like any other."""
    routes = FixedRoutes()
    routes.publish(make_routes({ANYTHING: {}}, event_types=()))
    matcher = make_matcher(routes)
    unwanted = make_event(event_type="later.on.known")
    refused = await match(matcher, [store(unwanted)])
    routes.publish(make_routes({ANYTHING: {}}, version=2, event_types=("later.on.known",)))
    taken = await match(matcher, [store(unwanted)])

    assert [[TOPICS.dead], [TOPICS.dispatches]] == [[topic for topic, *_ in each] for each in (refused, taken)]


async def test_a_matcher_that_lost_its_partitions_knows_no_ids() -> None:
    """Records matched and not written are matched again by the partition's next reader."""
    matcher = make_matcher(known_routes())
    await match(matcher, [store(make_event())])
    matcher.forget()

    assert 3 == len(await match(matcher, [store(make_event())]))


async def test_behind_a_marker_its_version_is_asked_for() -> None:
    """The marker waits until the routes are there; from then on they are the least that applies."""
    routes = known_routes()
    routes.coming[APPLICATION] = make_routes({US: {}}, version=2)
    written = read(
        await match(
            make_matcher(routes),
            [store(make_event(1)), store(make_marker(2)), store(make_marker(1)), store(make_event(2))],
        )
    )
    versions = [record.routes_version for _, _, record in written if isinstance(record, Dispatch)]

    assert [1, 2] == versions
    assert [(APPLICATION, 2)] == routes.waited
    assert [0, 2] == [version_min for _, _, version_min in routes.asked]


async def test_a_marker_whose_routes_do_not_come_is_passed() -> None:
    """The routes that are there apply after the wait, and nothing claims otherwise."""
    routes = known_routes()
    written = await match(make_matcher(routes), [store(make_marker(9)), store(make_event())])

    assert 3 == len(written)
    assert [0] == [version_min for _, _, version_min in routes.asked]


async def test_markers_in_vain_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every producer of events can write markers: of a thousand without routes only the first ones wait."""
    routes = known_routes()
    waits: list[float] = []
    monkeypatch.setattr(matching, "monotonic_us", lambda: round(sum(waits) * 1_000_000))

    async def wait_for(application_id: str, version: int, timeout_s: float) -> bool:
        waits.append(min(timeout_s, 0.2))
        return False

    routes.wait_for = wait_for  # type: ignore[method-assign]  # it is a stand-in already
    matcher = make_matcher(routes)
    markers = [make_marker(number, application_id=f"0190f1a2-0000-7000-8000-{number:012}") for number in range(1, 1000)]
    await match(matcher, [store(marker) for marker in markers])

    assert 999 == len(waits)
    assert 0.2 < sum(waits) <= 1


async def test_a_marker_holds_for_its_own_application() -> None:
    """Others are asked for without it."""
    other = "0190f1a2-0000-7000-8000-00000000beef"
    routes = known_routes()
    routes.publish(make_routes({}, application_id=other, version=5))
    await match(make_matcher(routes), [store(make_marker(5, other)), store(make_event())])

    assert [(APPLICATION, 0)] == [(application_id, version_min) for application_id, _, version_min in routes.asked]


@settings(max_examples=50)
@given(
    st.none() | st.binary(max_size=3 * RECORD_MAX_BYTES),
    st.none() | st.binary(max_size=100),
    st.sampled_from([1, 1000, RECORD_MAX_BYTES]),
)
async def test_a_dead_letter_always_fits_into_a_record(value: bytes | None, key: bytes | None, times: int) -> None:
    """A letter fits, however large what it reports is: one that cannot be written would stop the partition for ever."""
    stored = StoredRecord(key=None if key is None else key * times, value=value)
    ((_, dead_key, dead_value, *_),) = await match(make_matcher(known_routes()), [stored])
    letter = from_bytes(dead_value)

    assert len(dead_key) + len(dead_value) < RECORD_MAX_BYTES
    assert isinstance(letter, DeadLetter)
    assert letter.source_key in (stored.key, None)
    assert letter.source_value in (stored.value, None)


async def test_what_a_dead_letter_repeats_is_bounded() -> None:
    """Ids of another form, or of a megabyte, are not repeated as ids, nor is a detail of such length."""
    absurd = "x" * 10_000
    stored = [
        store(make_event(application_id=absurd)),
        StoredRecord(key=b"k", value=store(make_event(application_id=absurd)).value),
        store(make_event(event_id=absurd)),
    ]
    letters = [record for _, _, record in read(await match(make_matcher(known_routes()), stored))]

    assert all(isinstance(letter, DeadLetter) for letter in letters)
    for letter in letters:
        assert isinstance(letter, DeadLetter)
        assert len(letter.detail) <= DETAIL_MAX_CHARS + 100
        assert letter.application_id in (None, APPLICATION)
        assert letter.event_id in (None, make_event().event_id)


async def test_what_is_too_much_at_once_comes_in_portions() -> None:
    """An event that matches thousands never stands in memory with all its deliveries; their order stays."""
    routes = FixedRoutes()
    subscription_ids = [f"s-{number}" for number in range(1000)]
    routes.publish(make_routes({each: {} for each in subscription_ids}))
    event = make_event(payload=b"x" * 20_000)
    matcher = make_matcher(routes, unsettled_max=10_000)
    portions = [portion async for portion in matcher.match([store(event)])]
    sizes = [sum(len(value) for _, _, value, *_ in portion) for portion in portions]

    assert len(sizes) == 1 + 20_000_000 // PORTION_MAX_BYTES
    assert max(sizes) < PORTION_MAX_BYTES + 21_000
    written = [written for portion in portions for written in portion]
    assert [*subscription_ids, APPLICATION] == [key.decode() for _, key, *_ in written]


async def test_a_chunk_that_leads_to_nothing_has_a_portion() -> None:
    """The writer learns in any case that the chunk is through."""
    assert [[]] == [portion async for portion in make_matcher(known_routes()).match([])]


async def match_wide(**settings: Any) -> list[tuple[str, bytes, Record]]:
    """Match an event with 300 subscriptions, all failing, of which 200 are within the application's share."""
    routes = FixedRoutes()
    settings = {"is_failing": lambda _: True} | settings
    routes.publish(make_routes({f"s-{number}": {} for number in range(300)}))
    return read(await match(make_matcher(routes, unsettled_max=400, **settings), [store(make_event())]))


def list_deliveries(written: Iterable[tuple[str, bytes, Record]], topic: str) -> list[Delivery]:
    return [each for name, _, record in written if name == topic for each in read_deliveries(to_bytes(record))]


async def test_deliveries_beyond_an_applications_share_wait_in_the_shortest_retry_topic() -> None:
    """Each match is written once, to one topic or the other, there in bundles; the dispatch names them all."""
    metrics = Metrics("matcher")
    written = await match_wide(metrics=metrics)

    (dispatch,) = (record for _, _, record in written if isinstance(record, Dispatch))
    matched = [each["delivery_id"] for each in dispatch.matches]
    assert matched[:200] == [each.delivery_id for each in list_deliveries(written, "deliveries")]
    waiting = list_deliveries(written, "retries.1s")
    assert sorted(matched[200:]) == sorted(each.delivery_id for each in waiting)
    bundles = [(key, record) for name, key, record in written if isinstance(record, Bundle)]
    assert TOPICS.deliveries.partitions >= len(bundles) == len(written) - 201
    for key, bundle in bundles:
        keys = [each["subscription_id"].encode() for each in bundle.subscriptions]
        assert key == keys[0]
        assert 1 == len({TOPICS.deliveries.locate(each) for each in keys})
    assert 100 == metrics.registry.get_sample_value("hookline_parked_total", {"reason": "over_share"})


async def test_only_what_is_for_failing_endpoints_is_bundled() -> None:
    """Deliveries to others go on by themselves: from a bundle they would be written and read once more."""
    failing = {f"s-{number}" for number in range(0, 300, 2)}
    written = await match_wide(is_failing=failing.__contains__)

    records = [record for name, _, record in written if name == "retries.1s"]
    alone = [record.subscription_id for record in records if isinstance(record, Delivery)]
    bundled = [
        each["subscription_id"] for record in records if isinstance(record, Bundle) for each in record.subscriptions
    ]
    assert (50, 50) == (len(alone), len(bundled))
    assert set(bundled) <= failing
    assert not set(alone) & failing


async def test_a_delivery_is_the_same_in_a_bundle_and_alone() -> None:
    """Left out by the setting, bundles are deliveries, each with all that it would have had."""
    bundled = list_deliveries(await match_wide(), "retries.1s")
    try:
        write_as({"bundle": 0})
        written = await match_wide()
    finally:
        write_as({"bundle": 1})

    alone = [record for name, _, record in written if name == "retries.1s"]
    assert 100 == len(alone)
    assert {each.delivery_id: each for each in bundled} == {
        each.delivery_id: each for each in alone if isinstance(each, Delivery)
    }


async def test_bundles_are_bounded() -> None:
    """An event for thousands has many, and what is left over by itself is a delivery."""
    routes, topics = FixedRoutes(), declare_topics(prefix="t.", partitions=1, event_retention_s=86_400)
    routes.publish(make_routes({f"s-{number}": {} for number in range(100 + 2 * SUBSCRIPTIONS_MAX + 1)}))
    matcher = make_matcher(routes, unsettled_max=200, topics=topics, is_failing=lambda _: True)
    written = read(await match(matcher, [store(make_event())]))

    found = [record for name, _, record in written if name.startswith("retries")]
    assert [SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_MAX] == [
        len(record.subscriptions) for record in found if isinstance(record, Bundle)
    ]
    assert [Bundle, Bundle, Delivery] == [type(record) for record in found]
