import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.event import Unreadable
from pipeline.core.events.framed import FramedData, take_schema_id
from pipeline.core.events.producer_record import (
    ProducerRecord,
    find_application_id,
    find_schema_id,
    find_topic_pattern,
    name_topic,
    read_record,
)
from pipeline.core.events.records import Event, RoutesChanged, to_bytes

APPLICATION = "0190f1a2-0000-7000-8000-000000000001"
OTHER = "0190f1a2-0000-7000-8000-000000000002"
EVENT_ID = "0190f1a2-0000-7000-8000-000000000003"
NOW_US = 1_790_000_000_000_000
PLAIN = {
    "application_id": APPLICATION,
    "event_id": EVENT_ID,
    "event_type": "shop.order.paid",
    "payload": '{"n":1}',
    "payload_content_type": "application/json",
    "labels": {"region": "eu"},
}
ATTRIBUTES: dict[str, str | bytes] = {
    "ce_specversion": "1.0",
    "ce_id": EVENT_ID,
    "ce_source": "/shop",
    "ce_type": "shop.order.paid",
}
FRAME = b"\x00\x00\x00\x00\x07"
AVRO = PLAIN | {"payload": b'{"n":1}', "occurred_at_us": NOW_US, "metadata": None}


def make(
    value: bytes | None, headers: Mapping[str, str | bytes] | None = None, timestamp_us: int = NOW_US
) -> ProducerRecord:
    pairs = tuple((name, text.encode() if isinstance(text, str) else text) for name, text in (headers or {}).items())
    return ProducerRecord(name_topic("hookline.", APPLICATION), 0, 7, b"any", value, pairs, timestamp_us)


def read(record: ProducerRecord, framed: FramedData | None = None) -> Event | Unreadable:
    return read_record(record, APPLICATION, lambda *_: framed or FramedData(problem="none"), now_us=NOW_US)


def test_whose_a_topic_is() -> None:
    """The names of topics, and what is no such name."""
    pattern = re.compile(find_topic_pattern("hook.line."))
    name = name_topic("hook.line.", APPLICATION)

    assert "hook.line.in." + APPLICATION == name
    assert APPLICATION == find_application_id("hook.line.", name)
    assert pattern.match(name)
    for other in ("hookXline.in." + APPLICATION, "hook.line.in.shop", name + ".more", "hook.line.events"):
        assert not pattern.match(other)


def test_the_plain_form() -> None:
    """The form is that of the events topic; the key may be any."""
    event = read(make(json.dumps(PLAIN).encode()))

    assert isinstance(event, Event)
    assert (EVENT_ID, b'{"n":1}', {"region": "eu"}, NOW_US) == (
        event.event_id,
        event.payload,
        event.labels,
        event.received_at_us,
    )


@pytest.mark.parametrize("headers", [ATTRIBUTES, {name.upper(): text for name, text in ATTRIBUTES.items()}])
def test_the_binary_mode(headers: dict[str, str | bytes]) -> None:
    """Attributes are headers, the value is the payload, byte for byte."""
    record = make(b'{"n": 1}', headers | {"content-type": "application/json; charset=utf-8", "ce_subject": "größe"})
    event = read(record)

    assert isinstance(event, Event)
    assert (APPLICATION, EVENT_ID, "shop.order.paid", b'{"n": 1}', "application/json") == (
        event.application_id,
        event.event_id,
        event.event_type,
        event.payload,
        event.payload_content_type,
    )
    assert {"source": "/shop", "subject": "größe"} == event.labels


def test_the_structured_mode() -> None:
    """The content type marks the mode, or `specversion`."""
    value = json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/shop", "type": "a.b.c", "time": "2026-01-02T03:04:05Z", "data": 1}
    ).encode()
    events = [read(make(value, headers)) for headers in ({}, {"content-type": "application/cloudevents+json"})]

    assert events[0] == events[1]
    assert isinstance(events[0], Event)
    assert b"1" == events[0].payload


@pytest.mark.parametrize(
    "framed",
    [
        FramedData(text=json.dumps(PLAIN).encode()),
        FramedData(value=AVRO),
        FramedData(value=AVRO | {"payload": '{"n":1}', "occurred_at_us": None}),
        FramedData(value=PLAIN | {"occurred_at": datetime(2026, 1, 2, tzinfo=UTC)}),
    ],
)
def test_what_a_schema_reads(framed: FramedData) -> None:
    """An event, in JSON or in Avro: payloads may be bytes, times numbers."""
    record = make(FRAME + b"...")
    event = read(record, framed)

    assert 7 == find_schema_id(record)
    assert isinstance(event, Event)
    assert (EVENT_ID, b'{"n":1}') == (event.event_id, event.payload)


def test_binary_payloads_of_avro_stay_bytes() -> None:
    """The payload has the content type of bytes."""
    framed = FramedData(
        value=AVRO | {"payload": b"\xff\x00", "payload_content_type": "application/octet-stream+base64"}
    )
    event = read(make(FRAME), framed)

    assert isinstance(event, Event)
    assert b"\xff\x00" == event.payload


def test_a_cloud_event_of_framed_data() -> None:
    """Attributes are headers; the payload is the data as JSON."""
    value = {"id": UUID(EVENT_ID), "at": datetime(2026, 1, 2, 3, tzinfo=UTC), "sum": Decimal("1.50"), "raw": b"\xff"}
    event = read(make(FRAME + b"...", ATTRIBUTES | {"content-type": "application/avro"}), FramedData(value=value))

    assert isinstance(event, Event)
    assert ("application/json", EVENT_ID, "1.50", "/w==") == (
        event.payload_content_type,
        *(json.loads(event.payload)[name] for name in ("id", "sum", "raw")),
    )


def test_bytes_that_begin_like_a_frame_are_bytes() -> None:
    """Where the content type says so, no schema is asked for."""
    record = make(FRAME + b"x", ATTRIBUTES | {"content-type": "image/png"})
    event = read(record)

    assert find_schema_id(record) is None
    assert isinstance(event, Event)
    assert FRAME + b"x" == event.payload


@pytest.mark.parametrize(
    ("record", "framed", "reason"),
    [
        (make(None), None, "undecodable"),
        (make(b""), None, "undecodable"),
        (make(b"\x00\x01"), None, "undecodable"),
        (make(b"junk"), None, "undecodable"),
        (make(b"{"), None, "undecodable"),
        (make(json.dumps(PLAIN | {"application_id": OTHER}).encode()), None, "wrong_key"),
        (make(json.dumps(PLAIN | {"event_id": "7"}).encode()), None, "invalid_event"),
        (
            make(to_bytes(RoutesChanged(application_id=APPLICATION, routes_version=1, changed_at_us=2))),
            None,
            "undecodable",
        ),
        (make(FRAME + b"x"), FramedData(problem="there is no such schema"), "undecodable"),
        (make(FRAME + b"x"), FramedData(value={"n": float("nan")}), "undecodable"),
        (make(FRAME + b"x"), FramedData(value={"application_id": APPLICATION, "payload": b"\xff"}), "undecodable"),
        (make(FRAME + b"x"), FramedData(value=7), "undecodable"),
        (make(FRAME + b"x"), FramedData(value=AVRO | {"application_id": OTHER}), "wrong_key"),
        (make(FRAME + b"x"), FramedData(value=AVRO | {"occurred_at_us": 1 << 62}), "undecodable"),
        (make(b"1", ATTRIBUTES | {"ce_id": ""}), None, "invalid_event"),
        (make(b"1", ATTRIBUTES | {"ce_specversion": "0.3"}), None, "invalid_event"),
        (make(b"1", ATTRIBUTES | {"ce_type": "a\nb"}), None, "invalid_event"),
        (make(b"1", ATTRIBUTES | {"ce_source": b"\xff"}), None, "invalid_event"),
        (make(b"{", ATTRIBUTES | {"content-type": "application/json"}), None, "invalid_event"),
        (make(b"1", ATTRIBUTES | {f"ce_x{number}": "1" for number in range(11)}), None, "invalid_event"),
        (make(b"[]", {"content-type": "application/cloudevents-batch+json"}), None, "invalid_event"),
        (make(b"{", {"content-type": "application/cloudevents+json"}), None, "invalid_event"),
    ],
    ids=range(22),
)
def test_what_is_no_event(record: ProducerRecord, framed: FramedData | None, reason: str) -> None:
    """Each has a reason, and the application whose topic it is."""
    found = read(record, framed)

    assert isinstance(found, Unreadable)
    assert (reason, APPLICATION) == (found.reason, found.application_id)


@pytest.mark.parametrize("timestamp_us", [-1, -1000, 1 << 62])
def test_a_time_that_is_none_is_now(timestamp_us: int) -> None:
    """A topic may have its producers' times, and those may be any number."""
    event = read(make(json.dumps(PLAIN).encode(), timestamp_us=timestamp_us))

    assert isinstance(event, Event)
    assert NOW_US == event.occurred_at_us


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*AVRO, "specversion", "x"]), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("timestamp_us", [NOW_US - 1, -1000])
def test_an_id_of_the_record_stays(timestamp_us: int) -> None:
    """The id of an event without one is the same whenever the record is read, and another one at another time."""
    value = json.dumps(PLAIN | {"event_id": None}).encode()
    records = [make(value, timestamp_us=each) for each in (timestamp_us, timestamp_us, timestamp_us - 1)]
    events = [
        read_record(record, APPLICATION, lambda *_: FramedData(problem="none"), now_us=NOW_US + number)
        for number, record in enumerate(records)
    ]
    first, again, other = (event.event_id for event in events if isinstance(event, Event))

    assert first == again != other


@given(
    st.binary() | st.just(FRAME),
    st.dictionaries(st.sampled_from([*ATTRIBUTES, "content-type", "ce_time"]), st.text() | st.binary()),
    st.dictionaries(st.sampled_from([*AVRO]), JSON).map(lambda members: AVRO | members) | JSON,
)
def test_any_bytes_are_an_event_or_a_reason(value: bytes, headers: dict[str, str | bytes], read_as: Any) -> None:
    """The reader raises nothing: one record must not stop a topic."""
    found = read(make(value, headers), FramedData(value=read_as))

    assert isinstance(found, Event | Unreadable)


def test_a_frame_has_an_id() -> None:
    """Four bytes, big endian, behind a zero."""
    assert [7, None, None] == [take_schema_id(value) for value in (FRAME, b"\x00\x00", b"\x01" + FRAME)]
