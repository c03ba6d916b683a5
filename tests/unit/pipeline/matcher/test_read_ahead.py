from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.matcher.read_ahead import OVERTAKING_MAX, TURN_RECORDS, ReadAhead, Waiting
from tests.unit.pipeline.matcher.records import StoredRecord


def fill(ahead: ReadAhead, keys: Sequence[bytes | None], first: int = 0, partition: int = 0) -> None:
    for offset, key in enumerate(keys, first):
        ahead.add(Waiting(StoredRecord(key=key, value=b"12345", offset=offset, partition=partition), None))


def take(ahead: ReadAhead, spent_s: float = 0.0) -> StoredRecord:
    """Take the next record, which takes so long."""
    waiting = ahead.take()
    assert waiting is not None
    ahead.charge(waiting.record.key, spent_s)
    return waiting.record  # type: ignore[return-value]  # what was put in


def take_all(ahead: ReadAhead) -> list[StoredRecord]:
    return [take(ahead) for _ in range(len(ahead))]


@given(st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=200), st.floats(0, 0.01))
def test_everything_comes_once_and_each_application_in_its_order(keys: list[bytes | None], spent_s: float) -> None:
    """Records without a key are one application."""
    ahead = ReadAhead()
    fill(ahead, keys)
    assert (len(keys), 5 * len(keys)) == (len(ahead), ahead.size_bytes)
    taken = [take(ahead, spent_s) for _ in keys]

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
    taken = [record.key for record in take_all(ahead)]

    assert max(taken.index(b"%d" % number) for number in range(others)) <= TURN_RECORDS + others


def test_what_was_overtaken_is_taken_out_and_the_rest_forgotten() -> None:
    ahead = ReadAhead()
    fill(ahead, [b"many"] * 30)
    fill(ahead, [b"other"] * 30, 30)
    taken = {take(ahead).offset for _ in range(15)}
    assert {*range(10), *range(30, 35)} == taken
    overtaken = ahead.take_overtaken()

    assert list(range(10, 30)) == [record.offset for record in take_all(overtaken)]
    assert (0, 0) == (len(ahead), ahead.size_bytes)


def test_of_many_that_were_overtaken_the_oldest_are_taken_out() -> None:
    ahead = ReadAhead()
    fill(ahead, [b"many"] * (3 * OVERTAKING_MAX))
    fill(ahead, [b"other"], 3 * OVERTAKING_MAX)
    for _ in range(TURN_RECORDS + 1):
        take(ahead)

    overtaken = take_all(ahead.take_overtaken())
    assert list(range(TURN_RECORDS, TURN_RECORDS + OVERTAKING_MAX)) == [record.offset for record in overtaken]


def test_a_record_is_overtaken_by_those_of_its_partition() -> None:
    """The backlog of one partition is not matched in place of what was overtaken in another."""
    ahead = ReadAhead()
    fill(ahead, [b"many"] * (3 * OVERTAKING_MAX), partition=1)
    fill(ahead, [b"few"] * (TURN_RECORDS + 5))
    fill(ahead, [b"other"] * TURN_RECORDS, TURN_RECORDS + 5)
    for _ in range(3 * TURN_RECORDS):
        take(ahead)
    overtaken = take_all(ahead.take_overtaken())

    assert [(0, TURN_RECORDS + number) for number in range(5)] == [(each.partition, each.offset) for each in overtaken]


def test_the_oldest_is_not_overtaken_by_too_many() -> None:
    """Records that overtook it are matched again after a restart."""
    ahead = ReadAhead()
    fill(ahead, [b"many"] * 20_000)
    fill(ahead, [b"%d" % number for number in range(20_000)], 20_000)
    waiting, overtaking_max = set(range(40_000)), 0
    while ahead:
        offset = take(ahead).offset
        waiting.discard(offset)
        oldest = min(waiting, default=40_000) if offset % 500 == 0 else None
        if oldest is not None:
            overtaking_max = max(overtaking_max, 40_000 - oldest - len(waiting))

    assert OVERTAKING_MAX / 2 < overtaking_max <= OVERTAKING_MAX + TURN_RECORDS


def test_cleared_it_holds_nothing() -> None:
    """Records that are added after that are alone."""
    ahead = ReadAhead()
    fill(ahead, [b"a"] * 30)
    for _ in range(5):
        take(ahead)
    ahead.clear()
    assert (0, 0) == (len(ahead), ahead.size_bytes)
    fill(ahead, [b"b"], 30)

    assert [30] == [record.offset for record in take_all(ahead)]


def test_turns_are_of_time_as_well() -> None:
    """An application whose records take a hundred times as long has as much time as another, not as many records."""
    ahead = ReadAhead()
    spent_s = {b"slow": 0.0, b"quick": 0.0}
    fill(ahead, [b"slow"] * 1000)
    fill(ahead, [b"quick"] * 10_000, 1000)
    costs_s = {b"slow": 0.1, b"quick": 0.0001}
    for _ in range(5000):
        key = take(ahead, 0.0).key
        assert key is not None
        ahead.charge(key, costs_s[key])
        spent_s[key] += costs_s[key]

    assert spent_s[b"slow"] <= spent_s[b"quick"] + 2 * costs_s[b"slow"]


def test_one_alone_waits_for_no_turn() -> None:
    """An application alone is let off the time that it took; one that comes later has the next turn."""
    ahead = ReadAhead()
    fill(ahead, [b"slow"] * 50)
    taken = [take(ahead, 1.0).key for _ in range(20)]
    fill(ahead, [b"quick"] * 5, 50)

    assert [b"slow"] * 20 == taken
    assert [b"quick"] * 5 == [take(ahead).key for _ in range(5)]
