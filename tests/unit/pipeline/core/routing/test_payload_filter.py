import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.content_types import JSON_TYPE, TEXT_TYPE
from pipeline.core.routing.payload_filter import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    OPERATORS,
    SCANNED_MAX,
    SORTED_MIN,
    Content,
    FilterError,
    SelectionCostError,
    compile_text,
    count_conditions,
    parse_filter,
)

PAYLOAD = {
    "order": {"total": 120, "currency": "EUR", "lines": [{"sku": "a/b"}, {"sku": "c"}], "gift": True, "note": None}
}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "ab", "b", ""]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner)),
    max_leaves=8,
)
CONDITIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(["", "/a", "/b/0", "/a/b"]),
            "op": st.sampled_from(["eq", "ne", "contains"]),
            "value": SCALARS,
        }
    ),
    st.fixed_dictionaries({"path": st.sampled_from(["/a", "/c"]), "op": st.just("exists"), "value": st.booleans()}),
    st.fixed_dictionaries({"path": st.just("/a"), "op": st.sampled_from(["gt", "lte"]), "value": st.integers(-5, 5)}),
)


def accepts(form: dict[str, Any], payload: object = PAYLOAD) -> bool:
    return Content(json.dumps(payload).encode(), JSON_TYPE).is_accepted_by(parse_filter(form))


def where(path: str, op: str, value: object) -> dict[str, Any]:
    return {"path": path, "op": op, "value": value}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (where("/order/total", "gte", 120), True),
        (where("/order/total", "gt", 120), False),
        (where("/order/total", "lt", "200"), False),
        (where("/order/currency", "eq", "EUR"), True),
        (where("/order/currency", "in", ["USD", "EUR"]), True),
        (where("/order/currency", "ne", "EUR"), False),
        (where("/order/nothing", "ne", "EUR"), False),
        (where("/order/nothing", "exists", False), True),
        (where("/order/note", "exists", True), True),
        (where("/order/note", "eq", None), True),
        (where("/order/gift", "eq", 1), False),
        (where("/order/gift", "gt", 0), False),
        (where("/order/lines/0/sku", "eq", "a/b"), True),
        (where("/order/lines/00/sku", "eq", "a/b"), False),
        (where("/order/lines/9/sku", "exists", True), False),
        (where("/order/currency", "starts_with", "E"), True),
        (where("/order/currency", "ends_with", "E"), False),
        (where("/order/currency", "contains", "U"), True),
        (where("/order/lines", "contains", 1), False),
        ({"all": [where("/order/total", "gt", 100), where("/order/currency", "eq", "EUR")]}, True),
        ({"any": [where("/order/total", "gt", 500), where("/order/currency", "eq", "EUR")]}, True),
        ({"not": where("/order/total", "gt", 100)}, False),
    ],
)
def test_what_is_accepted(form: dict[str, Any], expected: bool) -> None:
    """The documented filters accept these payloads."""
    assert expected == accepts(form)


@pytest.mark.parametrize("payload", [b"no json", b"[" * 600, b""])
def test_what_is_no_json_is_never_accepted(payload: bytes) -> None:
    """A filter accepts no text that is not JSON, and neither does its opposite."""
    wanted = where("", "exists", True)
    for form in (wanted, {"not": wanted}):
        assert not Content(payload, JSON_TYPE).is_accepted_by(parse_filter(form))
        assert not Content(b"{}", TEXT_TYPE).is_accepted_by(parse_filter(form))


@pytest.mark.parametrize(
    "form",
    [
        [],
        {},
        {"all": []},
        {"all": [where("/a", "eq", 1)], "any": []},
        where("a", "eq", 1),
        where("/a", "like", "x"),
        where("/a", "eq", {}),
        where("/a", "gt", True),
        where("/a", "in", []),
        where("/a", "exists", "yes"),
        where("/" + "a" * 200, "eq", 1),
        where("/a" * 17, "eq", 1),
        {"path": "/a", "op": "eq"},
        {"path": "/a", "op": "eq", "value": 1, "more": 2},
        {"any": [where("/a", "eq", 1)] * (CONDITIONS_MAX + 1)},
        where("/a", "eq", "x" * 5000),
    ],
)
def test_what_is_no_filter(form: object) -> None:
    """The API refuses it with a sentence; read from the log, it accepts nothing and stops no other subscription."""
    with pytest.raises(FilterError, match=r"^(must|has|is|`)"):
        parse_filter(form)
    assert not Content(b"{}", JSON_TYPE).is_accepted_by(compile_text(json.dumps(form)))


def test_depth_is_bounded() -> None:
    """The allowed number of levels passes, and not one more."""
    form: dict[str, Any] = where("", "exists", True)
    for _ in range(DEPTH_MAX - 1):
        form = {"not": form}

    assert isinstance(accepts(form), bool)
    with pytest.raises(FilterError, match="levels deep"):
        parse_filter({"not": form})


@given(st.lists(CONDITIONS, min_size=1, max_size=4), VALUES)
def test_the_laws_of_logic(conditions: list[dict[str, Any]], payload: object) -> None:
    """`all`, `any` and `not` are those of Boole, whatever is compared with whatever."""
    single = [accepts(each, payload) for each in conditions]

    assert all(single) == accepts({"all": conditions}, payload)
    assert any(single) == accepts({"any": conditions}, payload)
    assert (not all(single)) == accepts({"any": [{"not": each} for each in conditions]}, payload)
    assert len(conditions) == count_conditions({"not": {"all": conditions}})


@given(VALUES, st.sampled_from(sorted(OPERATORS)), SCALARS)
def test_nothing_is_raised(payload: object, op: str, value: object) -> None:
    """A filter that can be made can be asked about anything."""
    try:
        parse_filter(where("/a", op, value))
    except FilterError:
        return

    assert isinstance(accepts(where("/a", op, value), payload), bool)


@pytest.mark.parametrize("payload", [[0.5] * 172_000, [[]] * 233_000, "a" * 690_000], ids=["numbers", "lists", "text"])
def test_what_all_filters_of_an_event_look_through_is_bounded(payload: object) -> None:
    """One filter at its limits accepts or refuses the longest payload; ten thousand would take hours."""
    content = Content(json.dumps(payload).encode(), JSON_TYPE)

    def ask(number: int) -> bool:
        wanted = f"{number}b" if isinstance(payload, str) else number
        conditions = [where("", "contains", wanted), *[where("", "contains", f"{wanted}-{each}") for each in range(31)]]
        return content.is_accepted_by(parse_filter({"any": conditions}))

    assert ask(0) is False
    with pytest.raises(SelectionCostError):
        any(ask(number) for number in range(1, SCANNED_MAX))


def test_the_same_search_counts_once() -> None:
    """Thousands of subscriptions with one filter cost as much as one of them."""
    content = Content(json.dumps(["a"] * 100_000).encode(), JSON_TYPE)
    wanted = parse_filter({"any": [where("", "contains", "b"), where("", "contains", True)]})

    assert not any(content.is_accepted_by(wanted) for _ in range(1_000))


NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2, 2)


@given(st.lists(SCALARS | NUMBERS | st.just([]) | st.just({}), max_size=6), st.lists(SCALARS | NUMBERS, max_size=6))
def test_a_long_list_that_is_searched_again_has_what_it_had(values: list[Any], wanted: list[Any]) -> None:
    """Every search of a list gives the same answer as the first one, for numbers, texts and constants alike."""
    payload = json.dumps([values, [[]] * SORTED_MIN]).encode()
    long = json.dumps([*values, *[[]] * SORTED_MIN]).encode()
    searched = Content(long, JSON_TYPE)
    for each in [*wanted, *wanted, *(value for value in values if not isinstance(value, list | dict))]:
        first = Content(payload, JSON_TYPE).is_accepted_by(parse_filter(where("/0", "contains", each)))

        assert first == searched.is_accepted_by(parse_filter(where("", "contains", each))), each
