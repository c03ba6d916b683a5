from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.recent_ids import RecentIds

IDS = st.lists(st.integers(0, 20), max_size=100)


@given(IDS, st.integers(0, 10))
def test_the_newest_are_known_and_no_more(ids: Sequence[int], max_ids: int) -> None:
    """The set is like a scanned list: an id counts as known while it is among the last `max_ids` that were new."""
    recent, naive = RecentIds(max_ids), list[int]()
    for each in ids:
        is_new = each not in naive
        if is_new:
            naive = [*naive, each][-max_ids:] if max_ids else []

        assert is_new == recent.add(each)
        assert len(naive) == len(recent) <= max_ids

    assert set(naive) == {each for each in range(21) if each in recent}


@given(IDS, IDS, st.integers(1, 10))
def test_what_was_added_in_vain_can_be_forgotten(ids: Sequence[int], vain: Sequence[int], max_ids: int) -> None:
    """An id whose record was not accepted after all is new again, and the bound holds as before."""
    recent = RecentIds(max_ids)
    for each in ids:
        recent.add(each)
    for each in vain:
        recent.discard(each)

        assert each not in recent
        assert recent.add(each)
        assert len(recent) <= max_ids


def test_a_repeat_does_not_keep_an_id_alive() -> None:
    """One id repeated for ever does not push others out."""
    recent = RecentIds(2)
    for each in ("a", "b", "a", "c"):
        recent.add(each)

    assert "a" not in recent
    assert "b" in recent
    assert "c" in recent
