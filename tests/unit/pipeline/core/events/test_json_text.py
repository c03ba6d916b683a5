import json
import time

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


@given(
    siblings=st.lists(
        st.sampled_from(
            [
                "[]",
                "{}",
                "[" * 9 + "]" * 9,
                "[[[[1],[[1],1]]]]",
                '[{"]":[]}]',
                '"[[["',
                '"\\"["',
                r'"\\"',
                r'"\\\"[["',
                '"]"',
                '""',
            ]
        ),
        max_size=3,
    ),
    repeated=st.sampled_from([1, 2000]),
    forms=st.lists(st.booleans(), min_size=1, max_size=5),
    depth=st.integers(DEPTH_MAX - 3, DEPTH_MAX + 3),
)
def test_the_depth_is_counted_whatever_lies_beside_it(
    siblings: list[str], repeated: int, forms: list[bool], depth: int
) -> None:
    """Brackets of both kinds, thousands of pairs beside the deepest one, and brackets in strings that are none."""
    are_lists = [forms[level % len(forms)] for level in range(depth - 1)]
    begin = "".join("[" if is_list else '{"a":' for is_list in are_lists)
    end = "".join("]" if is_list else "}" for is_list in reversed(are_lists))
    beside = "".join(f"{sibling}," for sibling in siblings * repeated)
    problem = find_json_problem(f"[{beside}{begin}1{end}]".encode())

    assert (problem is None) == (depth <= DEPTH_MAX)
    assert problem is None or problem == f"is nested more than {DEPTH_MAX} deep"


@pytest.mark.parametrize("text", ["[", "{", "]", "[]", "][", '[{"a":', "[[]"])
def test_a_body_of_brackets_is_refused_at_its_first_bytes(text: str) -> None:
    """All of it was counted before it was read: 0.16 s of a processor, in which a gateway answers no other request."""
    body = (text * (5 * 1024 * 1024 // len(text))).encode()
    begun_s = time.thread_time()
    problem = find_json_problem(body)

    assert problem is not None
    assert time.thread_time() - begun_s < 0.02
