import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from pipeline.core.events.records import RoutesChanged, to_bytes
from schemas import SchemaError, decode
from schemas.codec import BY_HEADER, HEADER_BYTES, NEWEST

HEADERS = st.sampled_from(sorted(BY_HEADER))
MARKER_VALUE = to_bytes(RoutesChanged(application_id="a", routes_version=1, changed_at_us=2))


@given(st.binary())
def test_other_bytes_are_a_schema_error(value: bytes) -> None:
    """Other bytes raise no other exception, so that no caller has to know the library below."""
    with pytest.raises(SchemaError):
        decode(value)


@given(HEADERS, st.binary(max_size=300))
def test_a_known_header_before_anything_is_a_record_or_a_schema_error(header: bytes, body: bytes) -> None:
    """Lengths that reach beyond the end, text that is no text, unknown enum symbols: all of it is a schema error."""
    try:
        name, fields = decode(header + body)
    except SchemaError:
        return

    assert header == NEWEST[name].header
    assert fields.keys() == {field["name"] for field in NEWEST[name].schema["fields"]}


@given(HEADERS, st.sampled_from([b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01", b"\x80" * 40 + b"\x01"]))
def test_absurd_lengths_are_a_schema_error(header: bytes, length: bytes) -> None:
    """A length of exabytes, a negative one and one that never ends reserve no memory and end at once."""
    with pytest.raises(SchemaError):
        decode(header + length * 3)


@pytest.mark.parametrize("cut", range(1, len(MARKER_VALUE)))
def test_a_truncated_record_is_a_schema_error(cut: int) -> None:
    """The error is the same wherever the record was cut."""
    with pytest.raises(SchemaError):
        decode(MARKER_VALUE[:-cut])


def test_bytes_left_over_are_a_schema_error() -> None:
    """A record with something behind it was not written by this schema."""
    with pytest.raises(SchemaError, match="1 bytes left over"):
        decode(MARKER_VALUE + b"\x00")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", "it starts with nothing"),
        (b"junk!", "neither Avro single-object encoding nor JSON"),
        (b"\xc3\x01" + bytes(range(8)), "unknown fingerprint 0001020304050607"),
        (b"\x00\x00\x00\x00\x01rest", "Confluent wire format"),
        (MARKER_VALUE[:HEADER_BYTES], "'routes_changed' that does not decode"),
    ],
)
def test_the_message_says_what_it_looked_like(value: bytes, expected: str) -> None:
    """The message becomes the dead letter's detail, which the record's producer reads."""
    with pytest.raises(SchemaError, match=expected):
        decode(value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"application_id": "a", "routes_version": 1},
        {"application_id": "a", "routes_version": "1", "changed_at_us": 2},
        {"application_id": 7, "routes_version": 1, "changed_at_us": 2},
        {"application_id": "a", "routes_version": 2**63, "changed_at_us": 2},
    ],
)
def test_what_does_not_fit_its_schema_is_not_written(fields: dict[str, object]) -> None:
    """A field that is missing or of another type is noticed by the writer, not by all readers."""
    with pytest.raises((ValueError, TypeError, AttributeError, OverflowError)):
        schemas.encode("routes_changed", fields)


def test_an_unknown_name_is_no_schema() -> None:
    """Only records of the catalogue are written."""
    with pytest.raises(KeyError):
        schemas.encode("unheard_of", {})
