"""The bound of a pattern's width, against searches that note every place at which they are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.routing.pattern_width import measure_width

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"

EXPRESSIONS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["a", "b", "[ab]"]),
    lambda inner: st.one_of(
        st.tuples(st.just("then"), inner, inner),
        st.tuples(st.just("either"), inner, inner),
        st.tuples(st.just("repeat"), inner, st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("star"), inner),
    ),
    max_leaves=8,
)


def write(expression: Any) -> str:
    match expression:
        case ("then", one, other):
            return write(one) + write(other)
        case ("either", one, other):
            return f"(?:{write(one)}|{write(other)})"
        case ("repeat", inner, least, more):
            return f"(?:{write(inner)}){{{least},{least + more}}}"
        case ("star", inner):
            return f"({write(inner)})*"
    return str(expression)


def compile_program(expression: Any, program: list[Any]) -> None:
    """The instructions as Thompson has them: a text of characters to take, or a list of places that follow."""
    match expression:
        case ("then", one, other):
            compile_program(one, program)
            compile_program(other, program)
        case ("either", one, other):
            program.append(split := [len(program) + 1])
            compile_program(one, program)
            program.append(leap := [])
            split.append(len(program))
            compile_program(other, program)
            leap.append(len(program))
        case ("repeat", inner, least, more):
            for _ in range(least):
                compile_program(inner, program)
            splits: list[list[int]] = []
            for _ in range(more):
                splits.append([len(program) + 1])
                program.append(splits[-1])
                compile_program(inner, program)
            for split in splits:
                split.append(len(program))
        case ("star", inner):
            begin = len(program)
            program.append(split := [begin + 1])
            compile_program(inner, program)
            program.append([begin])
            split.append(len(program))
        case _:
            program.append(expression.strip("[]"))


def follow(program: list[Any], place: int, seen: set[int]) -> None:
    if place not in seen:
        seen.add(place)
        for following in program[place] if place < len(program) and isinstance(program[place], list) else ():
            follow(program, following, seen)


def search(program: list[Any], text: str, *, begins_once: bool) -> int:
    """The number of places that take a character at which the search was at once."""
    places: set[int] = set()
    follow(program, 0, places)
    most = 0
    for character in f"{text}.":
        taking = {place for place in places if place < len(program) and isinstance(program[place], str)}
        most = max(most, len(taking))
        places = set()
        for place in taking:
            if character in program[place]:
                follow(program, place + 1, places)
        if not begins_once:
            follow(program, 0, places)
    return most


@given(EXPRESSIONS, st.text("ab", max_size=30))
def test_no_search_is_at_more_places(expression: Any, text: str) -> None:
    """The bound holds for a search that begins once and for one that begins at every character."""
    program: list[Any] = []
    compile_program(expression, program)

    assert search(program, text, begins_once=True) <= measure_width("^" + write(expression))
    assert search(program, text, begins_once=False) <= measure_width(write(expression))


@given(st.text(r"a\[](){},?*+|^$-9pux<:", max_size=20))
def test_any_text_has_a_width(text: str) -> None:
    """The measure never fails, whatever the text is."""
    assert measure_width(text) >= 0


@pytest.mark.parametrize(
    "pattern",
    [UUID, TIME, r"^\+?[1-9]\d{1,14}$", r"^[^@\s]+@[^@\s]+\.[^@\s]+$", r"^\p{L}{1,200}$", "^[a-z0-9]+(?:-[a-z0-9]+)*$"],
)
def test_usual_patterns_are_narrow(pattern: str) -> None:
    """The forms of ids, times, numbers, addresses and names have few places."""
    assert measure_width(pattern) <= 10


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        ("a[ab]{900}c", 900),
        ("^[ab]*a[ab]{900}c", 900),
        ("a(?:[ab]{30}){30}c", 900),
        ("(?m)^a.{900}", 900),
        ("^x|a[ab]{900}c", 900),
        ("^(?:a|aa){450}c", 900),
        ("a[](]{900}c", 900),
        ("a" + "[ab]" * 900 + "c", 900),
    ],
)
def test_wide_patterns_are_wide(pattern: str, least: int) -> None:
    """Repeated parts count as often as they are repeated, also where brackets are not understood."""
    assert least <= measure_width(pattern)


def test_the_flag_that_hides_brackets_is_refused() -> None:
    """A comment, in a pattern with the flag `x`, may have brackets that are none."""
    with pytest.raises(ValueError, match="the flag `x`"):
        measure_width("(?ix)a # )")
