"""Compiled writers, against the general one: the same bytes for everything a record can hold."""

import types
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import NEWEST
from schemas.writing import LONG_MAX, LONG_MIN, compile_writer, write_number

COMPILED = {name: write for name, each in NEWEST.items() if (write := compile_writer(b"", each.schema)) is not None}
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80)
LONGS = st.integers(LONG_MIN, LONG_MAX) | st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "bytes": st.binary(max_size=200),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": LONGS,
    "boolean": st.booleans(),
}


def choose(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an Avro type."""
    if isinstance(kind, str):
        return SIMPLE[kind]
    if isinstance(kind, list):
        return st.none() | choose(kind[1])
    match kind["type"]:
        case "map":
            return st.dictionaries(TEXTS, SIMPLE[kind["values"]], max_size=5)
        case "enum":
            return st.sampled_from(kind["symbols"])
        case _:
            return st.lists(choose_fields(kind["items"]), max_size=4)


def choose_fields(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field["name"]: choose(field["type"]) for field in schema["fields"]})


@given(
    st.sampled_from(sorted(COMPILED)).flatmap(lambda name: st.tuples(st.just(name), choose_fields(NEWEST[name].schema)))
)
def test_what_is_compiled_writes_the_same_bytes(case: tuple[str, dict[str, Any]]) -> None:
    """Empty and long texts, negative and large numbers, absent values, empty maps and lists."""
    name, fields = case
    out = BytesIO()
    schemaless_writer(out, NEWEST[name].schema, fields)

    assert out.getvalue() == COMPILED[name](types.SimpleNamespace(**fields))


def test_what_every_event_needs_is_compiled() -> None:
    """The records that are written for each event and each attempt."""
    assert {"event", "dispatch", "delivery", "attempt"} <= COMPILED.keys()


@pytest.mark.parametrize("number", [LONG_MIN - 1, LONG_MAX + 1])
def test_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    """Such a number would be read as another one."""
    with pytest.raises(OverflowError):
        write_number(number)


EVENT = {
    field["name"]: {"string": "a", "bytes": b"a", "long": 1, "int": 1}.get(
        field["type"] if isinstance(field["type"], str) else "", {}
    )
    for field in NEWEST["event"].schema["fields"]
} | {"ip": None, "content_crc32": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payload", "text"),
        ("event_type", b"bytes"),
        ("event_type", None),
        ("received_at_us", 1.5),
        ("labels", {"a": 1}),
    ],
)
def test_a_value_of_another_type_is_refused(field: str, value: object) -> None:
    """A value that could not be read again is never written."""
    write = COMPILED["event"]
    write(types.SimpleNamespace(**EVENT))

    with pytest.raises((TypeError, AttributeError, UnicodeError)):
        write(types.SimpleNamespace(**EVENT | {field: value}))
