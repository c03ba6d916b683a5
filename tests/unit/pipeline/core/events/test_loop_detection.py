from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.headers import find_value_problem
from pipeline.core.events.loop_detection import HOP_HEADER, HOPS_MAX, derive_hop, find_hop_problem, list_hops


@given(st.text(st.characters(codec="utf-8")))
def test_any_name_makes_a_header(name: str) -> None:
    """The hop of any deployment's name can be sent, and is one hop."""
    hop = derive_hop(name)

    assert find_value_problem(HOP_HEADER, hop) is None
    assert (hop,) == list_hops([hop])


def test_deployments_are_told_apart() -> None:
    """A deployment's mark is derived from its name, stable, and does not reveal it."""
    assert derive_hop("eu") == derive_hop("eu")
    assert derive_hop("eu") != derive_hop("us")
    assert "eu-west" not in derive_hop("eu-west")


@given(st.integers(0, 20), st.booleans())
def test_a_loop_ends(count: int, in_one_header: bool) -> None:
    """Requests that came through more deliveries than the bound are refused, however they carry the hops."""
    hops = [derive_hop(str(number)) for number in range(count)]
    values = [", ".join(hops)] if in_one_header else hops
    problem = find_hop_problem(values)

    assert (count > HOPS_MAX) == (problem is not None)
    assert problem is None or f"{count} deliveries" in problem


def test_no_header_no_hops() -> None:
    """An ordinary event came through none, and neither did one with an empty header."""
    assert () == list_hops([])
    assert () == list_hops(["", " , ,"])
    assert find_hop_problem([]) is None
