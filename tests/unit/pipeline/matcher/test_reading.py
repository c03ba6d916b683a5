from faust.types import TP

from pipeline.matcher.reading import Gap, Reading
from tests.unit.pipeline.matcher.records import StoredRecord

ONE, OTHER = TP("t.events", 0), TP("t.events", 1)


def note(reading: Reading, tp: TP, first: int, last: int, *, committed: int | None = None) -> None:
    """A fetch of these, from a log with a record in every second."""
    begin, end = (StoredRecord(None, None, offset=offset, timestamp=offset * 1000) for offset in (first, last))
    reading.note(tp, begin, end, committed)


def test_fetch_behind_fetch_leaves_no_gap() -> None:
    """Records read again leave none either, nor does the beginning of a partition without a commit."""
    reading = Reading()
    note(reading, ONE, 100, 109)
    note(reading, ONE, 110, 119)
    note(reading, ONE, 115, 125, committed=7)
    note(reading, OTHER, 5, 9, committed=5)

    assert [] == reading.list_gaps()


def test_a_gap_is_missing_as_far_as_the_log_begins_behind_it() -> None:
    """The rest of it was no event: the end of a transaction, or what its producer took back."""
    reading = Reading()
    note(reading, ONE, 10, 19, committed=4)
    note(reading, OTHER, 10, 19, committed=10)
    note(reading, OTHER, 21, 29)
    gaps = reading.list_gaps()

    assert [Gap(ONE, 4, 10), Gap(OTHER, 20, 21)] == gaps
    assert {ONE: 6} == reading.count_missing({ONE: 15, OTHER: 20})
    assert [] == reading.list_gaps()


def test_a_gap_is_counted_once_and_not_forgotten_before() -> None:
    """One that came while another was being explained waits for its own explanation."""
    reading = Reading()
    note(reading, ONE, 10, 19, committed=4)
    note(reading, OTHER, 10, 19, committed=8)

    assert {ONE: 6} == reading.count_missing({ONE: 10})
    assert {OTHER: 2} == reading.count_missing({OTHER: 10})
    assert {} == reading.count_missing({ONE: 10, OTHER: 10})


def test_what_another_member_read_meanwhile_is_no_gap() -> None:
    """A partition that comes back is read from where it was committed."""
    reading = Reading()
    note(reading, ONE, 0, 9)
    reading.forget()
    note(reading, ONE, 50, 59, committed=50)

    assert [] == reading.list_gaps()


def test_an_age_is_that_of_the_oldest_that_is_not_settled() -> None:
    """The age is nothing when all is settled, or nothing was read."""
    reading = Reading()
    unread_us = reading.measure_age_us(ONE, 0, 60_000_000, is_done=False)
    note(reading, ONE, 10, 19)
    note(reading, ONE, 20, 29)
    ages_us = [reading.measure_age_us(ONE, settled, 60_000_000, is_done=False) for settled in (10, 15, 20)]

    assert 0 == unread_us
    assert [50_000_000, 50_000_000, 40_000_000] == ages_us
    assert 0 == reading.measure_age_us(ONE, 30, 60_000_000, is_done=True)
