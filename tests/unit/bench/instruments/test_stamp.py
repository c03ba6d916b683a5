import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.instruments.stamp import (
    END,
    NUMBERS_MAX,
    OPENING,
    STREAMS_MAX,
    Stamp,
    close_payload,
    format_stamp,
    read_stamp,
)

STAMPS = st.builds(
    Stamp,
    st.integers(10**15, 10**16 - 1),
    st.integers(0, STREAMS_MAX - 1),
    st.integers(0, NUMBERS_MAX - 1),
)


@given(stamp=STAMPS, payload=st.dictionaries(st.text(), st.text(max_size=20), max_size=3))
def test_a_mark_is_read_as_it_was_written(stamp: Stamp, payload: dict[str, str]) -> None:
    """A mark can be read in any payload, and the body is the payload with one member more."""
    body = OPENING.encode() + format_stamp(stamp) + close_payload(json.dumps(payload)).encode()

    assert stamp == read_stamp(body[:END])
    assert payload == {name: value for name, value in json.loads(body).items() if name != "bench"} | (
        {"bench": payload["bench"]} if "bench" in payload else {}
    )


@pytest.mark.parametrize("payload", ["{}", "{ }", '{"a":1}', '{ "a":1}', '{\n"a":1}'])
def test_any_object_can_take_a_mark(payload: str) -> None:
    """An empty object takes a mark, too, and one with spaces."""
    body = OPENING + "x" + close_payload(payload)

    assert {"bench": "x"} | json.loads(payload) == json.loads(body)


def test_what_is_no_object_takes_none() -> None:
    """A body that cannot carry the mark is refused rather than sent without."""
    with pytest.raises(ValueError, match="JSON object"):
        close_payload("[1]")


def test_a_body_without_a_mark_is_told() -> None:
    """A request without a mark does not count as a delivery."""
    with pytest.raises(ValueError, match="invalid literal"):
        read_stamp(b'{"hello":"world, this is none of ours at all"}')
