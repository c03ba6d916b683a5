import pytest

from pipeline.core.events.records import Delivery, Event, Record, RoutesChanged, expect, from_bytes, to_bytes
from schemas import SchemaError

MARKER = RoutesChanged(application_id="a", routes_version=1, changed_at_us=2)


def test_a_record_comes_back() -> None:
    """`from_bytes` undoes `to_bytes`, and knows which record it is."""
    assert MARKER == from_bytes(to_bytes(MARKER))
    assert MARKER == expect(RoutesChanged, to_bytes(MARKER))


@pytest.mark.parametrize("record_type", [Event, Delivery])
def test_another_record_than_expected_is_a_schema_error(record_type: type[Record]) -> None:
    """Every caller has one kind of error to handle, and its message names both."""
    with pytest.raises(SchemaError, match=f"a RoutesChanged where a {record_type.__name__} belongs"):
        expect(record_type, to_bytes(MARKER))


def test_records_do_not_change() -> None:
    """A record that was read can be shared by all its users."""
    with pytest.raises(AttributeError):
        MARKER.routes_version = 2  # type: ignore[misc]  # that it is refused is what is tested
