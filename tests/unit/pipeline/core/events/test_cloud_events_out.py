"""CloudEvents that we write are read by the SDK of CloudEvents."""

from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.cloud_events import STRUCTURED_TYPE, parse_binary, parse_structured
from pipeline.core.events.cloud_events_out import name_data_type, write_headers, write_structured
from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE, TEXT_TYPE
from pipeline.core.events.records import Delivery

IDS = {
    "delivery_id": "0190f1a2-0000-7000-8000-000000000001",
    "subscription_id": "0190f1a2-0000-7000-8000-000000000002",
    "application_id": "0190f1a2-0000-7000-8000-000000000003",
    "event_id": "0190f1a2-0000-7000-8000-000000000004",
}
TYPES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20).filter(str.strip)


def make(**fields: Any) -> Delivery:
    members: dict[str, Any] = {"event_type": "a.b.c", "payload": b"{}", "payload_content_type": JSON_TYPE}
    times = {"appended_at_us": 1, "received_at_us": 1_790_000_000_000_000, "matched_at_us": 1}
    return Delivery(**(IDS | members | times | fields))


def read(delivery: Delivery, *, is_structured: bool) -> Any:
    headers = {"content-type": STRUCTURED_TYPE} if is_structured else write_headers(delivery)
    body = write_structured(delivery, delivery.payload) if is_structured else delivery.payload
    headers.setdefault("content-type", name_data_type(delivery))
    return from_http_event(HTTPMessage(headers=headers, body=body))


@pytest.mark.parametrize("is_structured", [True, False])
@given(event_type=TYPES, text=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_sdk_reads_any_type_and_text(is_structured: bool, event_type: str, text: str) -> None:
    """The SDK reads all characters."""
    event = read(
        make(event_type=event_type, payload=text.encode(), payload_content_type=TEXT_TYPE), is_structured=is_structured
    )
    data = event.get_data()

    assert event_type == event.get_type()
    assert IDS["event_id"] == event.get_id()
    assert f"/applications/{IDS['application_id']}" == event.get_source()
    assert text.encode() == (data.encode() if isinstance(data, str) else data or b"")


@given(payload=st.binary(max_size=50), kind=st.sampled_from([TEXT_TYPE, BINARY_TYPE]))
def test_bytes_stay_what_they_are(payload: bytes, kind: str) -> None:
    """Bytes that a producer called text stay, too; read by ourselves it is the same event."""
    delivery = make(payload=payload, payload_content_type=kind)
    structured = parse_structured(write_structured(delivery, memoryview(payload)))
    binary = parse_binary(write_headers(delivery), payload, name_data_type(delivery))

    assert (payload, IDS["event_id"]) == (structured.payload, structured.event_id)
    assert (payload, IDS["event_id"]) == (binary.payload, binary.event_id)


@pytest.mark.parametrize("received_at_us", [-(2**63), 2**63 - 1])
def test_any_time_is_written(received_at_us: int) -> None:
    """A producer may have said any."""
    assert read(make(received_at_us=received_at_us), is_structured=False).get_type() == "a.b.c"
