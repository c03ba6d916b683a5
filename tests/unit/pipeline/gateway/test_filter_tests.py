import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.content_types import JSON_TYPE
from pipeline.core.routing.payload_filter import Content, parse_filter
from pipeline.gateway.control.filter_tests import do_accept
from pipeline.pauses import Pauses
from tests.support.turns import count_turns

CONDITIONS = st.builds(
    lambda path, value: {"path": path, "op": "contains", "value": value},
    st.sampled_from(["", "/0", "/1"]),
    st.sampled_from([0, 1, 1.5, "a", True, None]),
)
FILTERS: st.SearchStrategy[Any] = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(lambda each: {"not": each}, inner),
        st.builds(lambda kind, each: {kind: each}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1)),
    ),
    max_leaves=6,
)


@given(FILTERS, st.sampled_from([b'[0, 1.5, "a"]', b'[["a"], [1, null]]', b'"a"', b"1"]))
def test_the_answer_is_that_of_the_filter(form: Any, payload: bytes) -> None:
    """A filter accepts the same with and without turns for others."""
    wanted = parse_filter(form)
    accepted = asyncio.run(do_accept(wanted, Content(payload, JSON_TYPE), Pauses()))

    assert accepted == Content(payload, JSON_TYPE).is_accepted_by(wanted)


async def test_others_have_turns_between_conditions() -> None:
    """A filter at its limits gives turns to others between any two of its conditions, which share a long list."""
    times = iter(range(1_000))
    form = {"any": [{"path": "", "op": "contains", "value": 1.5 + number} for number in range(32)]}
    pauses = Pauses(clock=lambda: float(next(times)))
    async with count_turns() as turns:
        accepted = await do_accept(parse_filter(form), Content(b"[2, 2]", JSON_TYPE), pauses)

    assert not accepted
    assert turns.count >= len(form["any"])
