import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.content_types import BINARY_TYPE, CONTENT_TYPES, JSON_TYPE, TEXT_TYPE
from pipeline.core.events.event import Unreadable, find_problem, parse_event
from pipeline.core.events.ids import derive_record_id
from pipeline.core.events.names import EVENT_TYPE_MAX_BYTES, LABELS_MAX, METADATA_MAX, PAIR_MAX_BYTES
from pipeline.core.events.records import Delivery, Event, RoutesChanged, to_bytes

APPLICATION_ID = "0190f1a2-0000-7000-8000-000000000001"
EVENT_ID = "0190f1a2-0000-7000-8000-000000000003"
KEY = APPLICATION_ID.encode()
APPENDED_US = 1_795_500_460_000_000
DEEP = 100_000

# What Avro's strings can hold: anything that is UTF-8.
TEXTS = st.text(st.characters(codec="utf-8"))
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=5)
LONGS = st.integers(-(2**63), 2**63 - 1)
EVENTS = st.builds(
    Event,
    application_id=st.just(APPLICATION_ID) | TEXTS,
    event_id=st.just(EVENT_ID) | TEXTS,
    event_type=TEXTS,
    payload=st.binary(),
    payload_content_type=st.sampled_from(CONTENT_TYPES) | TEXTS,
    labels=PAIRS,
    metadata=PAIRS,
    occurred_at_us=LONGS,
    received_at_us=LONGS,
    ip=st.none() | TEXTS,
)


def make_event(**fields: Any) -> Event:
    usual: dict[str, Any] = {
        "application_id": APPLICATION_ID,
        "event_id": EVENT_ID,
        "event_type": "billing.invoice.paid",
        "payload": b"{}",
        "payload_content_type": JSON_TYPE,
        "labels": {"region": "eu"},
        "occurred_at_us": APPENDED_US,
        "received_at_us": APPENDED_US,
    }
    return Event(**usual | fields)


def make_json(**fields: Any) -> bytes:
    usual: dict[str, Any] = {
        "application_id": APPLICATION_ID,
        "event_id": EVENT_ID,
        "event_type": "billing.invoice.paid",
        "payload": "{}",
        "payload_content_type": JSON_TYPE,
    }
    return json.dumps(usual | fields).encode()


def parse(value: bytes | None, key: bytes | None = KEY) -> Event | RoutesChanged | Unreadable:
    return parse_event(value, key, topic="events", partition=3, offset=7, appended_at_us=APPENDED_US)


def refuse(value: bytes | None, key: bytes | None = KEY) -> Unreadable:
    parsed = parse(value, key)
    assert isinstance(parsed, Unreadable)
    return parsed


@given(st.none() | st.binary(), st.none() | st.binary())
def test_never_raises(value: bytes | None, key: bytes | None) -> None:
    """Bytes that are no event are a reason, not an exception."""
    parsed = parse(value, key)

    assert isinstance(parsed, Unreadable)
    assert "undecodable" == parsed.reason
    assert parsed.detail


@given(EVENTS, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5), st.integers(0, 200))
def test_never_raises_for_damaged_avro(event: Event, damage: list[tuple[int, int]], cut: int) -> None:
    """An event with bytes changed or missing becomes an event or a reason; never an exception."""
    value = bytearray(to_bytes(event))
    for at, byte in damage:
        value[at % len(value)] = byte
    damaged = bytes(value[: len(value) - cut])

    assert isinstance(parse(damaged, event.application_id.encode()), Event | RoutesChanged | Unreadable)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
    st.sampled_from(["application_id", "event_id", "event_type", "payload", "labels", "metadata", "occurred_at", "x"]),
)
def test_never_raises_for_json_of_another_shape(inside: object, member: str) -> None:
    """Any JSON in any member becomes an event or a reason."""
    assert isinstance(parse(make_json(**{member: inside})), Event | Unreadable)


@given(EVENTS)
def test_an_avro_event_comes_back_whole_or_breaks_a_rule(event: Event) -> None:
    """The gateway's record is read field by field as it was written; the rules decide about the rest."""
    parsed = parse(to_bytes(event), event.application_id.encode())

    if find_problem(event) is None:
        assert event == parsed
    else:
        assert isinstance(parsed, Unreadable)
        assert ("invalid_event", find_problem(event)) == (parsed.reason, parsed.detail)


POISON = {
    "no value": None,
    "empty value": b"",
    "not JSON": b"hello",
    "half JSON": b'{"application_id": ',
    "an array": b"[]",
    "NaN": b'{"application_id": NaN}',
    "lone surrogate": make_json().replace(b"billing.", b"\\ud800"),
    "not UTF-8": make_json().replace(b"billing.", b"\xff\xfe"),
    "NUL": b"\x00",
    "spaces": b"    ",
    "byte order mark": b"\xef\xbb\xbf" + make_json(),
    "deep objects": b'{"x":' * DEEP + b"1" + b"}" * DEEP,
    "deep arrays": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge number": b'{"x":' + b"9" * 1_000_000,
    "unknown Avro schema": b"\xc3\x01" + bytes(20),
    "Confluent wire format": b"\x00\x00\x00\x00\x07" + bytes(20),
    "a member of another type": make_json(event_type=7),
    "no event": to_bytes(
        Delivery(
            delivery_id="d",
            subscription_id="s",
            application_id=APPLICATION_ID,
            event_id=EVENT_ID,
            event_type="a.b.c",
            payload=b"",
            payload_content_type=JSON_TYPE,
            appended_at_us=0,
            received_at_us=0,
            matched_at_us=0,
        )
    ),
}


@pytest.mark.parametrize("value", POISON.values(), ids=POISON.keys())
def test_poison_is_undecodable(value: bytes | None) -> None:
    """None of it is an event, and its producer is told why in one sentence of a bounded length."""
    refused = refuse(value)

    assert "undecodable" == refused.reason
    assert 10 < len(refused.detail) < 500
    assert refused.application_id is None


INVALID = {
    "event_id of another form": {"event_id": EVENT_ID.upper()},
    "event type of no characters": {"event_type": ""},
    "event type too long": {"event_type": "x" * (EVENT_TYPE_MAX_BYTES + 1)},
    "event type with NUL": {"event_type": "a.b\x00.c"},
    "event type with a line break": {"event_type": "a.b\n.c"},
    "unknown content type": {"payload_content_type": "text/html"},
    "too many labels": {"labels": {str(number): "x" for number in range(LABELS_MAX + 1)}},
    "label without a value": {"labels": {"region": ""}},
    "label too long in bytes": {"labels": {"region": "ü" * (PAIR_MAX_BYTES // 2 + 1)}},
    "too much metadata": {"metadata": {str(number): "x" for number in range(METADATA_MAX + 1)}},
    "metadata without a key": {"metadata": {"": "x"}},
    "payload that is not JSON": {"payload": "hello"},
    "payload with NaN": {"payload": '{"x": NaN}'},
    "payload with a lone surrogate": {"payload": '"\\ud800"'},
    "payload of deep arrays": {"payload": "[" * DEEP + "]" * DEEP},
    "payload of deep objects": {"payload": '{"x":' * DEEP + "1" + "}" * DEEP},
    "payload that is not base64": {"payload": "a", "payload_content_type": BINARY_TYPE},
    "payload in URL-safe base64": {"payload": "-_-_", "payload_content_type": BINARY_TYPE},
    "moment without a time zone": {"occurred_at": "2026-11-24T06:07:40"},
    "moment no calendar has": {"occurred_at": "2026-02-30T00:00:00Z"},
}


@pytest.mark.parametrize("fields", INVALID.values(), ids=INVALID.keys())
def test_a_broken_rule_is_named(fields: dict[str, Any]) -> None:
    """An event that breaks a rule is refused with the application it belongs to, so that its owner can see it."""
    refused = refuse(make_json(**fields))

    assert "invalid_event" == refused.reason
    assert 10 < len(refused.detail) < 500
    assert APPLICATION_ID == refused.application_id


@pytest.mark.parametrize("key", [None, b"", b"\xff", KEY.upper(), b"0190f1a2-0000-7000-8000-000000000002"])
def test_a_wrong_key_is_refused(key: bytes | None) -> None:
    """The key decides who matches and delivers a record, so that it must be the application's."""
    marker = RoutesChanged(application_id=APPLICATION_ID, routes_version=1, changed_at_us=0)

    assert ["wrong_key"] * 3 == [
        refuse(value, key).reason for value in (make_json(), to_bytes(make_event()), to_bytes(marker))
    ]


def test_limits_are_inclusive() -> None:
    """An event that is exactly as large as allowed is an event."""
    event = make_event(
        event_type="ü" * (EVENT_TYPE_MAX_BYTES // 2),
        labels={f"{number:0{PAIR_MAX_BYTES}}": "ü" * (PAIR_MAX_BYTES // 2) for number in range(LABELS_MAX)},
        metadata={f"{number:0{PAIR_MAX_BYTES}}": "x" for number in range(METADATA_MAX)},
    )

    assert event == parse(to_bytes(event))


def test_a_marker_is_read() -> None:
    """Markers travel in the events topic, in the order of what they are about."""
    marker = RoutesChanged(application_id=APPLICATION_ID, routes_version=7, changed_at_us=APPENDED_US)

    assert marker == parse(to_bytes(marker))


def test_the_json_form() -> None:
    """A producer without Avro writes one JSON object; what it leaves out comes from the record itself."""
    value = make_json(labels={"a": "b"}, metadata={"c": "d"}, occurred_at="2026-11-24T08:07:40.5+02:00")

    assert parse(value) == make_event(
        labels={"a": "b"},
        metadata={"c": "d"},
        occurred_at_us=round(datetime(2026, 11, 24, 6, 7, 40, 500_000, UTC).timestamp() * 1_000_000),
    )
    bare = make_json(event_id=None, payload=" hello ", payload_content_type=TEXT_TYPE)
    assert parse(b"\r\n " + bare) == make_event(
        event_id=derive_record_id("events", 3, 7, APPENDED_US),
        payload=b" hello ",
        payload_content_type=TEXT_TYPE,
        labels={},
    )


def test_duplicate_members_are_read_as_every_json_library_does() -> None:
    """The last one counts; in the payload both are kept, since it is delivered byte for byte."""
    payload = '{"a": 1, "a": 2}'
    value = make_json(payload=payload).replace(b'"event_type"', b'"event_type": "x.y.z", "event_type"')

    assert make_event(payload=payload.encode(), labels={}) == parse(value)


@given(st.binary())
def test_binary_payloads_are_decoded(payload: bytes) -> None:
    """Base64 is the JSON form's way to carry bytes; the endpoint gets the bytes."""
    value = make_json(payload=base64.b64encode(payload).decode(), payload_content_type=BINARY_TYPE)

    assert make_event(payload=payload, payload_content_type=BINARY_TYPE, labels={}) == parse(value)


def test_a_cloud_event_in_the_structured_mode_is_an_event() -> None:
    """The record's key is the application; an event without a time occurred when it was appended."""
    attributes = b'"specversion":"1.0","id":"7","source":"/billing","type":"billing.invoice.paid","region":"eu"'
    value = b"{" + attributes + b',"data":{"n": 1}}'
    application_id = "0190f1a2-0000-7000-8000-000000000001"
    place: dict[str, Any] = {"topic": "events", "partition": 0, "offset": 7, "appended_at_us": 1_790_000_000_000_000}
    event = parse_event(value, application_id.encode(), **place)
    wrong = parse_event(value.replace(b"1.0", b"0.3"), application_id.encode(), **place)
    keyless = parse_event(value, None, **place)

    assert isinstance(event, Event)
    assert (application_id, "billing.invoice.paid", b'{"n": 1}') == (
        event.application_id,
        event.event_type,
        event.payload,
    )
    assert {"source": "/billing", "region": "eu"} == event.labels
    assert place["appended_at_us"] == event.occurred_at_us
    assert isinstance(wrong, Unreadable)
    assert "invalid_event" == wrong.reason
    assert isinstance(keyless, Unreadable)
