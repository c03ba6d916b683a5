from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lanes.turns import Turns


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=1))
def test_groups_take_turns_whatever_their_size(sizes: dict[str, int]) -> None:
    """No group has a second turn before each that has members waiting had its first."""
    turns: Turns[tuple[str, int]] = Turns()
    for group, size in sizes.items():
        for number in range(size):
            turns.append(group, (group, number))
    left = dict(sizes)
    while left:
        given_out = [member for _ in range(len(left)) if (member := turns.pop(lambda _: True)) is not None]

        assert sorted(left) == sorted(group for group, _ in given_out)
        left = {group: size - 1 for group, size in left.items() if size > 1}
    assert 0 == len(turns)


def test_members_of_a_group_take_turns() -> None:
    """Members take turns in the order they came."""
    turns: Turns[int] = Turns()
    for number in range(3):
        turns.append("a", number)

    assert [0, 1, 2, None] == [turns.pop(lambda _: True) for _ in range(4)]


def test_a_group_that_may_not_is_passed_over() -> None:
    """The group keeps its turn."""
    turns: Turns[str] = Turns()
    turns.append("a", "first")
    turns.append("b", "second")

    assert "second" == turns.pop(lambda group: group != "a")
    assert turns.pop(lambda group: group != "a") is None
    assert "first" == turns.pop(lambda _: True)


def test_a_member_may_leave() -> None:
    """A member may leave before its turn came."""
    turns: Turns[int] = Turns()
    turns.append("a", 1)
    turns.append("a", 2)
    turns.remove("a", 1)

    assert 1 == len(turns)
    assert 2 == turns.pop(lambda _: True)
