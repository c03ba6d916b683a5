from hypothesis import given
from hypothesis import strategies as st

from connectors.http.attempts_tail import AttemptsTail

PLACE = ("deliveries", 0)


def test_without_attempts_all_is_seen() -> None:
    """Nothing was read at the start: a commit may name the end, which rises with our own attempts."""
    tail = AttemptsTail(5, end=5)
    tail.end = 9

    assert 9 == tail.find_seen(lambda *_: False)


def test_the_start_is_named_until_all_is_settled() -> None:
    """The attempts that settle a source record must be found again as long as it may come back."""
    tail = AttemptsTail(5, end=8)
    settled: set[int] = set()
    for offset in (1, 7, 3):
        tail.add(PLACE, offset)

    def is_settled(_: object, offset: int) -> bool:
        return offset in settled

    seen = [tail.find_seen(is_settled)]
    for offset in (3, 1, 7):
        settled.add(offset)
        seen.append(tail.find_seen(is_settled))

    assert [5, 5, 5, 8] == seen


@given(st.lists(st.integers(0, 50), min_size=1), st.data())
def test_never_names_the_end_too_early(offsets: list[int], data: st.DataObject) -> None:
    """The end is named exactly when all records are settled, whatever their order."""
    tail = AttemptsTail(0, end=100)
    for offset in offsets:
        tail.add(PLACE, offset)
    settled: set[int] = set()
    for offset in data.draw(st.permutations(sorted(set(offsets)))):
        assert 0 == tail.find_seen(lambda _, wanted: wanted in settled)
        settled.add(offset)

    assert 100 == tail.find_seen(lambda _, wanted: wanted in settled)
