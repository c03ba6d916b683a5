import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.json_text import DEPTH_MAX, find_json_problem
from tests.support.conformance.json_cases import JsonCase, list_json_cases

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('a"\\[{ü\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"]}\\'), inner),
)


@pytest.mark.parametrize("case", list_json_cases(depth_max=DEPTH_MAX), ids=lambda case: case.name)
def test_json_as_rfc_8259_has_it(case: JsonCase) -> None:
    """JSONTestSuite: what must be accepted is, what must be refused is, with a reason that can be shown."""
    problem = find_json_problem(case.text)

    if case.expect != "either":
        assert (problem is None) == (case.expect == "accept"), problem
    assert problem is None or problem.isprintable()


@given(JSON_VALUES, st.booleans())
def test_whatever_a_library_writes_is_json(value: object, ensure_ascii: bool) -> None:
    """Lines are JSON with and without escapes."""
    assert find_json_problem(json.dumps(value, ensure_ascii=ensure_ascii).encode()) is None


@given(st.binary(max_size=50), st.integers(0, 600))
def test_it_never_raises(text: bytes, depth: int) -> None:
    """The check never raises, whatever the bytes are, however deep they begin."""
    find_json_problem(text)
    find_json_problem(b"[" * depth + text)
    find_json_problem(b'{"a":' * depth + text + b"}" * depth)
