from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.matcher.read_ahead import OVERTAKING_MAX, TURN_RECORDS, ReadAhead, Waiting
from tests.unit.pipeline.matcher.records import StoredRecord


def fill(ahead: ReadAhead, keys: Sequence[bytes | None], first: int = 0) -> None:
    for offset, key in enumerate(keys, first):
        ahead.add(Waiting(StoredRecord(key=key, value=b"12345", offset=offset), None))


def take_all(ahead: ReadAhead, records_max: int) -> list[StoredRecord]:
    taken = []
    while ahead:
        portion = ahead.take(records_max)
        assert 1 <= len(portion) <= records_max
        taken += [waiting.record for waiting in portion]
    return taken  # type: ignore[return-value]  # what was put in


@given(st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=200), st.integers(1, 50))
def test_everything_comes_once_and_each_application_in_its_order(keys: list[bytes | None], records_max: int) -> None:
    """Records without a key are one application."""
    ahead = ReadAhead()
    fill(ahead, keys)
    assert (len(keys), 5 * len(keys)) == (len(ahead), ahead.size_bytes)
    taken = take_all(ahead, records_max)

    assert sorted(record.offset for record in taken) == list(range(len(keys)))
    for key in set(keys):
        offsets = [record.offset for record in taken if record.key == key]
        assert sorted(offsets) == offsets
    assert (0, 0) == (len(ahead), ahead.size_bytes)


@given(st.integers(1, 5000), st.integers(1, 20))
def test_one_waits_for_one_turn_of_each_other(many: int, others: int) -> None:
    """An application waits one turn, however many records of another one came before."""
    ahead = ReadAhead()
    fill(ahead, [b"many"] * many)
    fill(ahead, [b"%d" % number for number in range(others)], many)
    taken = [record.key for record in take_all(ahead, 100)]

    assert max(taken.index(b"%d" % number) for number in range(others)) <= TURN_RECORDS + others


def test_the_oldest_is_not_overtaken_by_too_many() -> None:
    """Records that overtook it are matched again after a restart."""
    ahead = ReadAhead()
    fill(ahead, [b"many"] * 20_000)
    fill(ahead, [b"%d" % number for number in range(20_000)], 20_000)
    waiting, overtaking_max = set(range(40_000)), 0
    while ahead:
        for taken in ahead.take(100):
            waiting.discard(taken.record.offset)
            oldest = min(waiting, default=40_000) if taken.record.offset % 500 == 0 else None
            if oldest is not None:
                overtaking_max = max(overtaking_max, 40_000 - oldest - len(waiting))

    assert OVERTAKING_MAX / 2 < overtaking_max <= OVERTAKING_MAX + TURN_RECORDS


def test_cleared_it_holds_nothing() -> None:
    """Records that are added after that are alone."""
    ahead = ReadAhead()
    fill(ahead, [b"a"] * 30)
    ahead.take(5)
    ahead.clear()
    assert (0, 0) == (len(ahead), ahead.size_bytes)
    fill(ahead, [b"b"], 30)

    assert [30] == [record.offset for record in take_all(ahead, 10)]
