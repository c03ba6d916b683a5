import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.routing.type_patterns import do_match, is_pattern

PARTS = st.lists(st.sampled_from(["a", "b", "*", "**"]), min_size=1, max_size=7)
NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=7)


def match_by_regex(pattern: list[str], name: list[str]) -> bool:
    """Match by an expression over parts that each end with a dot."""
    texts = {"*": r"[^.]+\.", "**": r"(?:[^.]+\.)*"}
    expression = "".join(texts.get(part, re.escape(part) + r"\.") for part in pattern)
    return re.fullmatch(expression, "".join(f"{part}." for part in name)) is not None


@given(PARTS, NAMES)
def test_equal_to_an_expression(pattern: list[str], name: list[str]) -> None:
    """`*` is one part, `**` any number of them."""
    assert match_by_regex(pattern, name) == do_match(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("billing.*.paid", "billing.invoice.paid", True),
        ("billing.*.paid", "billing.invoice.open.paid", False),
        ("billing.**", "billing.invoice.paid", True),
        ("billing.**", "billings.invoice.paid", False),
        ("**", "a.b.c", True),
        ("**.paid", "billing.invoice.paid", True),
        ("*.*", "a.b.c", False),
        ("bill*.invoice.paid", "billing.invoice.paid", False),
    ],
)
def test_some(pattern: str, name: str, expected: bool) -> None:
    """Documented patterns match; a star inside of a part is a character like any other."""
    assert expected == do_match(pattern.split("."), name.split("."))


def test_what_is_a_pattern() -> None:
    """Only whole parts are wildcards."""
    assert [True, True, True, False, False] == [is_pattern(name) for name in ("a.*.c", "**", "*", "a*.b", "a.b.c")]


def test_many_wildcards_take_no_longer() -> None:
    """A pattern that would take an expression ages is decided in as many steps as its parts allow."""
    assert not do_match(["**", "a"] * 50, ["a"] * 49 + ["b"])
