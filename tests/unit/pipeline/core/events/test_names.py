from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.headers import find_value_problem
from pipeline.core.events.names import (
    EVENT_TYPE_MAX_BYTES,
    EVENT_TYPE_MAX_CHARS,
    encode_header_text,
    find_event_type_problem,
    find_pairs_problem,
)

FINE = [
    "a",
    "billing.invoice.paid",
    "shop.größe.neu",
    "a b.c",
    "🙂.a.b",
    "a,b",
    "50%",
    '"',
    "日本",
    "\u00e9",
    "e\u0301",
    "x" * 200,
]
WRONG = {
    "": "length",
    "x" * 201: "length",
    "ü" * 101: "length",
    "a\x00": "non_control_character",
    "a\nb": "non_control_character",
    "a\x7f": "non_control_character",
    "a\x85b": "non_control_character",
    " a": "blank",
    "a ": "blank",
    "a\u00a0b": "visible_character",
    "a\u200db": "visible_character",
    "a\u2028b": "visible_character",
    "a\u2029b": "visible_character",
    "a\u202eb": "visible_character",
    "\ufeffa": "visible_character",
    "a\u00adb": "visible_character",
    "a\u3000b": "visible_character",
    "a\ud800b": "visible_character",
}


@pytest.mark.parametrize("name", FINE)
def test_names_that_are_fine(name: str) -> None:
    """A name may have any characters that show."""
    assert find_event_type_problem(name) is None


@pytest.mark.parametrize("name", WRONG)
def test_names_that_are_not(name: str) -> None:
    """Invisible names, and names too long for a subscription to name them, are refused."""
    problem = find_event_type_problem(name)

    assert problem is not None
    assert WRONG[name] == problem.code


@given(st.text(max_size=EVENT_TYPE_MAX_CHARS + 1))
def test_whatever_is_a_name_can_be_sent(name: str) -> None:
    """A header's value carries it and can be read again; a subscription can name it."""
    if find_event_type_problem(name) is not None:
        return
    value = encode_header_text(name)

    assert find_value_problem("x-event-type", value) is None
    assert name == unquote(value, errors="strict")
    assert len(name.encode()) <= EVENT_TYPE_MAX_BYTES


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ({}, None),
        ({"a": "b", "ü" * 25: "\n\u2028 x"}, None),
        ({"": "b"}, "property-length"),
        ({"a": ""}, "property-length"),
        ({"a" * 51: "b"}, "property-length"),
        ({"a": "ü" * 26}, "property-length"),
        ({"a": "\x00"}, "property-text"),
        ({"a\x00ü": "b"}, "property-text"),
        ({"a": "\ud800"}, "property-text"),
    ],
)
def test_labels(pairs: dict[str, str], code: str | None) -> None:
    """1 to 50 bytes that can be stored."""
    problem = find_pairs_problem(pairs)

    assert code == (problem.code if problem is not None else None)
