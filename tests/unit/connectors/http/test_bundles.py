"""Bundles that come back: what goes on alone, what stays bundled, and for how long."""

from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from connectors.http.bundles import LANE_PREFIX, TRIED_AT_ONCE
from connectors.sink import LogRecord
from pipeline.clock import monotonic_us
from pipeline.core.events.bundle import SUBSCRIPTIONS_MAX, take_apart
from pipeline.core.events.records import Bundle, Delivery, Endpoint, Record, to_bytes, write_as
from pipeline.core.lanes.lane import Rank
from tests.support.outbound import APPLICATION_ID, NOW_US, make_bundle, make_endpoint
from tests.unit.connectors.http.sink_alone import SinkAlone

WELL, FAILING, NEW = (str(UUID(int=number)) for number in (10, 11, 12))


def make_endpoints(*subscription_ids: str, **fields: Any) -> list[Endpoint]:
    return [make_endpoint("https://example.com/", subscription_id=each, **fields) for each in subscription_ids]


def make_record(bundle: Bundle, topic: str = "retries.1s") -> LogRecord:
    key = bundle.subscriptions[0]["subscription_id"].encode()
    return LogRecord(f"hookline.{topic}", 0, 0, key, to_bytes(bundle), NOW_US)


def note(alone: SinkAlone, subscription_id: str, *outcomes: bool) -> None:
    """Let the endpoint's last requests have these outcomes."""
    gate, now_us = alone.memory.gate(subscription_id.encode()), monotonic_us()
    for outcome in outcomes:
        if outcome:
            gate.succeed(now_us, started_at_us=now_us)
        else:
            gate.fail(now_us, started_at_us=now_us, is_overload=False, is_fault=True)


def read(alone: SinkAlone) -> list[tuple[str, list[str]]]:
    """The records written: the topic, and whose deliveries each has."""
    found = []
    for name, record in alone.log.written:
        deliveries = take_apart(record) if isinstance(record, Bundle) else [record]
        found.append((name, [each.subscription_id for each in deliveries if isinstance(each, Delivery)]))
    return found


def test_a_bundle_has_a_lane_of_its_own() -> None:
    """A bundle waits for its turn among what was parked, and counts as its application's."""
    alone = SinkAlone(*make_endpoints(WELL, FAILING))
    incoming = alone.sink.classify(make_record(make_bundle([WELL, FAILING])))

    assert (LANE_PREFIX + WELL.encode(), Rank.PARKED, 0) == (incoming.lane, incoming.rank, incoming.due_at_us)
    assert APPLICATION_ID == alone.sink.parking.owner(incoming.lane)


@pytest.mark.parametrize(("topic", "longer"), [("retries.1s", "retries.10s"), ("retries.10s", "retries.1m")])
async def test_what_is_for_well_endpoints_goes_on_and_the_rest_waits_longer(topic: str, longer: str) -> None:
    """Deliveries that stay are one record again, in the next longer topic; nothing is sent, nothing counted."""
    failing = [FAILING, *(str(UUID(int=20 + number)) for number in range(50))]
    alone = SinkAlone(*make_endpoints(WELL, *failing))
    note(alone, WELL, True, False, True)
    for each in failing:
        note(alone, each, *[False] * 20)
    bundle = make_bundle([failing[0], WELL, *failing[1:]])
    await alone.put(record=make_record(bundle, topic))

    assert [("retries.1s", [WELL]), (longer, failing)] == read(alone)
    delivery, rest = (record for _, record in alone.log.written)
    assert delivery in list[Record](take_apart(bundle))
    assert rest == make_bundle(failing)
    assert [] == alone.client.requests
    assert 51 == alone.metrics.registry.get_sample_value("hookline_parked_total", {"reason": "bundled"})


async def test_the_longest_wait_is_that_of_parked_deliveries() -> None:
    """A minute, while the endpoints have not failed for long."""
    alone = SinkAlone(*make_endpoints(FAILING))
    note(alone, FAILING, *[False] * 20)
    await alone.put(record=make_record(make_bundle([FAILING]), "retries.1m"))

    assert [("retries.1m", [FAILING])] == read(alone)


async def test_an_endpoint_without_outcomes_is_tried_by_few() -> None:
    """A thousand deliveries are not let go at once while it is not known whether the endpoint is well."""
    alone = SinkAlone(*make_endpoints(NEW))
    for _ in range(10):
        await alone.put(record=make_record(make_bundle([NEW])))

    assert {"retries.1s": TRIED_AT_ONCE, "retries.10s": 10 - TRIED_AT_ONCE} == {
        name: alone.log.names().count(name) for name in alone.log.names()
    }


async def test_what_comes_back_lets_the_next_go() -> None:
    """Deliveries under way alone are counted until they are read again."""
    alone = SinkAlone(*make_endpoints(NEW))
    for _ in range(3):
        await alone.put(record=make_record(make_bundle([NEW])))
        (_, written), *_ = alone.log.written
        assert isinstance(written, Delivery)
        record = LogRecord("hookline.retries.1s", 0, 1, NEW.encode(), to_bytes(written), NOW_US)
        alone.sink.parking.came_back(alone.sink.classify(record))

    assert ["retries.1s"] * 3 == alone.log.names()


async def test_a_rush_for_a_well_endpoint_is_spread() -> None:
    """Each goes on alone, in a longer topic the more have gone: as what a full lane parks."""
    alone = SinkAlone(*make_endpoints(WELL))
    note(alone, WELL, True)
    for _ in range(300):
        await alone.put(record=make_record(make_bundle([WELL])))

    assert {"retries.1s", "retries.10s"} == set(alone.log.names())
    assert 300 == len(alone.log.retries())


@pytest.mark.parametrize(
    "fields",
    [
        {"deleted": True},
        {"enabled": False},
        {"enabled": False, "held_until_us": NOW_US},
        {"cancel_before_version": 4},
    ],
)
async def test_what_is_cancelled_goes_on_to_be_cancelled(fields: dict[str, Any]) -> None:
    """Each gets the attempt that says so, as any delivery does."""
    alone = SinkAlone(*make_endpoints(FAILING, **fields))
    note(alone, FAILING, *[False] * 20)
    await alone.put(record=make_record(make_bundle([FAILING])))

    assert [("retries.1s", [FAILING])] == read(alone)
    assert [Delivery] == [type(record) for _, record in alone.log.written]


async def test_what_has_no_endpoint_yet_goes_on() -> None:
    """A delivery by itself waits for the endpoint, and is given up in the end."""
    alone = SinkAlone(*make_endpoints(WELL))
    await alone.put(record=make_record(make_bundle([NEW])))

    assert [("retries.1s", [NEW])] == read(alone)


async def test_what_is_held_stays_bundled() -> None:
    """The owner may enable the subscription again."""
    alone = SinkAlone(*make_endpoints(WELL, enabled=False, held_until_us=NOW_US * 2), clock_us=lambda: NOW_US)
    note(alone, WELL, True)
    await alone.put(record=make_record(make_bundle([WELL])))

    assert [("retries.10s", [WELL])] == read(alone)
    assert [Bundle] == [type(record) for _, record in alone.log.written]


async def test_bundles_are_not_written_for_a_release_that_does_not_know_them() -> None:
    """All of its deliveries go on alone, each in the topic that it would have been bundled in."""
    alone = SinkAlone(*make_endpoints(WELL, FAILING))
    note(alone, WELL, True)
    note(alone, FAILING, *[False] * 20)
    record = make_record(make_bundle([WELL, FAILING]))
    try:
        write_as({"bundle": 0})
        await alone.put(record=record)
    finally:
        write_as({"bundle": 1})

    assert [("retries.1s", [WELL]), ("retries.10s", [FAILING])] == read(alone)
    assert 2 == len(alone.log.retries())


async def test_a_bundle_that_cannot_be_read_is_a_dead_letter() -> None:
    """The record stays in the letter."""
    alone = SinkAlone()
    record = make_record(make_bundle([WELL]))
    cut = record._replace(value=(record.value or b"")[:-3])
    await alone.put(record=cut)

    assert [("undecodable", cut.value)] == [(letter.reason, letter.source_value) for letter in alone.log.letters()]


class OneFailing:
    """A view of endpoints that is broken for one subscription."""

    def get(self, subscription_id: str) -> Endpoint | None:
        if subscription_id == FAILING:
            raise TypeError("an unforeseen error")
        return make_endpoints(subscription_id)[0]


async def test_an_error_with_one_delivery_stays_with_it() -> None:
    """The dead letter can be redriven: it has the delivery, not the bundle."""
    alone = SinkAlone(endpoints=OneFailing())
    note(alone, WELL, True)
    with capture_logs():
        await alone.put(record=make_record(make_bundle([WELL, FAILING])))

    assert ["retries.1s", "dead"] == alone.log.names()
    (letter,) = alone.log.letters()
    (_, failed) = take_apart(make_bundle([WELL, FAILING]))
    assert ("internal", failed.delivery_id, to_bytes(failed)) == (
        letter.reason,
        letter.delivery_id,
        letter.source_value,
    )


def test_a_full_bundle_is_small() -> None:
    """The envelope fits into the room that records leave for it."""
    ids = [str(UUID(int=number)) for number in range(SUBSCRIPTIONS_MAX)]

    assert len(to_bytes(make_bundle(ids, payload=b"", event_type="x" * 300))) < 8 * 1024
