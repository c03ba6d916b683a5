import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.cloud_events import (
    CloudEvent,
    CloudEventError,
    derive_event_id,
    parse_binary,
    parse_structured,
)
from pipeline.core.events.content_types import BINARY_TYPE, JSON_TYPE, TEXT_TYPE

# what may stand in an attribute (CloudEvents 1.0 §3.1): no control characters, no surrogates
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=20).filter(str.strip)
EVENTS = st.fixed_dictionaries(
    {"id": TEXTS, "source": TEXTS, "type": TEXTS},
    optional={
        "subject": TEXTS,
        "time": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - UTC
        "region": TEXTS,
    },
)
DATA = st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(-5, 5), TEXTS, st.none()), min_size=1)


@given(EVENTS, DATA)
def test_what_the_sdk_writes_is_read_alike_in_both_modes(attributes: dict[str, Any], data: dict[str, Any]) -> None:
    """Both modes give the same event, byte for byte of its payload but for blanks."""
    event = SdkEvent(attributes=attributes | {"datacontenttype": JSON_TYPE, "specversion": "1.0"}, data=data)
    structured, binary = to_structured_event(event), to_binary_event(event)
    headers = {name.lower(): value for name, value in binary.headers.items()}
    one = parse_structured(structured.body)
    other = parse_binary(headers, binary.body, headers["content-type"])

    assert (one.event_id, one.event_type, one.occurred_at_us) == (
        other.event_id,
        other.event_type,
        other.occurred_at_us,
    )
    assert one.labels == other.labels
    assert (attributes["type"], JSON_TYPE) == (one.event_type, one.payload_content_type)
    assert one.payload.replace(b" ", b"") == other.payload.replace(b" ", b"")


def read(members: str) -> CloudEvent:
    return parse_structured(f'{{"specversion":"1.0","id":"1","source":"/s","type":"a.b.c"{members}}}'.encode())


@pytest.mark.parametrize(
    ("members", "payload", "content_type"),
    [
        (',"data":{"n":  1.0}', b'{"n":  1.0}', JSON_TYPE),
        ("", b"null", JSON_TYPE),
        (',"data":null,"data_base64":null', b"null", JSON_TYPE),
        (',"data":null,"datacontenttype":"text/plain"', b"", TEXT_TYPE),
        (',"data_base64":"AP8=","data":null,"time":null,"subject":null,"datacontenttype":null', b"\x00\xff", JSON_TYPE),
        (',"data":"x","datacontenttype":"text/plain"', b"x", TEXT_TYPE),
        (',"datacontenttype":"text/plain"', b"", TEXT_TYPE),
        (',"data_base64":"AP8="', b"\x00\xff", JSON_TYPE),
        (',"data_base64":"AP8=","datacontenttype":"text/plain"', b"\x00\xff", BINARY_TYPE),
        (',"data_base64":"eA==","datacontenttype":"text/csv"', b"x", TEXT_TYPE),
        (',"data":{},"datacontenttype":"application/vnd.x+json; charset=utf-8"', b"{}", JSON_TYPE),
    ],
)
def test_data(members: str, payload: bytes, content_type: str) -> None:
    """JSON stays as it stands; what else it is follows from its type."""
    event = read(members)

    assert (payload, content_type) == (event.payload, event.payload_content_type)


def test_labels() -> None:
    """Extension attributes of each kind; a source that is too long becomes a digest of the same length."""
    long = "/" + "s" * 60
    event = read(f',"subject":"{long}","n":7,"b":true,"t":"x"')
    other = parse_structured(f'{{"specversion":"1.0","id":"1","source":"{long}","type":"a.b.c"}}'.encode())

    assert {"source": "/s", "n": "7", "b": "true", "t": "x"} == event.labels
    assert [50] == [len(value) for value in other.labels.values()]


def test_ids() -> None:
    """A UUID stays; any other is unique only with its source."""
    known = "0190f1a2-0000-7000-8000-000000000003"

    assert known == derive_event_id("/a", known.upper())
    assert derive_event_id("/a", "1") == derive_event_id("/a", "1") != derive_event_id("/b", "1")
    assert 5 == UUID(derive_event_id("/a", "1")).version


@pytest.mark.parametrize(
    "members", [',"time":"now"', ',"subject":""', ',"x":{}', ',"x":1.5', ',"data":1,"data_base64":""']
)
def test_what_is_none(members: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(CloudEventError, match=r"^(has|must)"):
        read(members)


def test_what_stands_beside_the_data_is_bounded() -> None:
    """Hundreds of thousands of members are refused before any is read; a large payload is not."""
    attributes = "".join(f',"e{number}":1' for number in range(200_000))
    data = "x" * 1_000_000

    with pytest.raises(CloudEventError, match="65536 bytes beside its data"):
        read(attributes)
    with pytest.raises(CloudEventError, match="65536 bytes beside its data"):
        read(f',"data":"{data}","data":1')
    assert f'"{data}"' == read(f',"data":"{data}"').payload.decode()
    assert b"hello" == read(f',"subject":"{"s" * 60_000}","data_base64":"aGVsbG8="').payload


MEMBERS = ["specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data", "data_base64", "x"]
JSON_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | DATA
)


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON_VALUES))
def test_any_members_are_read_or_refused(members: dict[str, Any]) -> None:
    """A member of a wrong kind, or null, never raises anything else; null is what is left out."""
    whole = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b.c"} | members
    without = {name: value for name, value in whole.items() if value is not None}

    def find(event: dict[str, Any]) -> CloudEvent | str:
        try:
            return parse_structured(json.dumps(event).encode())
        except CloudEventError as error:
            return str(error)

    assert find(whole) == find(without)
