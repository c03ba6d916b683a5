import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from pipeline.core.log.commit_note import METADATA_MAX_BYTES, CommitNote, format_note, parse_note
from pipeline.core.log.watermark import Watermark


class Restarts(RuleBasedStateMachine):
    """A partition read by a process that settles in any order, commits, dies, and starts again from its last commit.

    `log`: the offsets that exist, with gaps as compaction and transactions leave them. `settled`: what has been done
    at least once, by any of the processes.
    """

    log = Bundle("log")

    def __init__(self) -> None:
        super().__init__()
        self.offsets: list[int] = []
        self.settled: set[int] = set()
        self.committed: tuple[int, str] = (0, "")
        self.mark = Watermark(0)
        self.at = 0  # where reading goes on, as Kafka's consumer would
        self.in_flight: list[int] = []

    @rule(gaps=st.lists(st.integers(0, 3), min_size=1, max_size=20))
    def append(self, gaps: list[int]) -> None:
        for gap in gaps:
            self.offsets.append((self.offsets[-1] + 1 if self.offsets else 0) + gap)

    @rule(count=st.integers(1, 20))
    def read(self, count: int) -> None:
        for offset in [offset for offset in self.offsets if offset >= self.at][:count]:
            self.at = offset + 1
            if self.mark.take(offset):
                self.in_flight.append(offset)
            else:
                assert offset in self.settled, "a record that was never settled was passed over"

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), count=st.integers(1, 10))
    def settle(self, data: st.DataObject, count: int) -> None:
        for _ in range(min(count, len(self.in_flight))):
            offset = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
            self.mark.settle(offset)
            self.settled.add(offset)

    @rule()
    def commit(self) -> None:
        offset = self.mark.committable
        note = CommitNote(done=tuple(self.mark.completed_beyond()))
        self.committed = (offset, format_note(offset, note))

    @rule()
    def die_and_start(self) -> None:
        offset, metadata = self.committed
        self.mark = Watermark(offset, parse_note(offset, metadata).done)
        self.at = offset
        self.in_flight = []

    @invariant()
    def nothing_unsettled_is_committed(self) -> None:
        offset, metadata = self.committed
        unsettled = {offset for offset in self.offsets if offset not in self.settled}

        assert not {each for each in unsettled if each < offset}
        for first, end in parse_note(offset, metadata).done:
            assert not {each for each in unsettled if first <= each < end}

    @invariant()
    def metadata_fits(self) -> None:
        assert len(self.committed[1].encode()) <= METADATA_MAX_BYTES

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.in_flight) == len(self.mark)
        assert self.mark.committable <= self.mark.next_offset
        assert min(self.in_flight, default=self.mark.next_offset) == self.mark.committable

    def teardown(self) -> None:
        """All is settled in the end: the commit covers all, with nothing left for the note."""
        self.read(len(self.offsets) + 1)
        for offset in self.in_flight:
            self.mark.settle(offset)

        assert (self.offsets[-1] + 1 if self.offsets else 0) <= self.mark.committable
        assert [] == self.mark.completed_beyond()


Restarts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_nothing_unsettled_is_ever_committed = Restarts.TestCase
test_nothing_unsettled_is_ever_committed.__doc__ = "Whatever the order of taking, settling, committing and dying."


@pytest.mark.parametrize("seed", range(3))
def test_a_window_of_thousands_fits_into_metadata(seed: int) -> None:
    """The note is cut with 10,000 records in flight and every other one settled, and is still true."""
    mark, dice, settled = Watermark(5), random.Random(seed), set[int]()
    for offset in range(5, 10_005):
        mark.take(offset)
    for offset in range(6, 10_005):
        if dice.random() < 0.5:
            mark.settle(offset)
            settled.add(offset)
    metadata = format_note(mark.committable, CommitNote(done=tuple(mark.completed_beyond())))
    noted = {offset for first, end in parse_note(5, metadata).done for offset in range(first, end)}

    assert 5 == mark.committable
    assert len(metadata) <= METADATA_MAX_BYTES
    assert noted <= settled
    assert len(noted) > 1000


@given(st.integers(0, 100), st.lists(st.integers(0, 200), max_size=30))
def test_a_record_is_taken_once(start: int, offsets: list[int]) -> None:
    """A record that is read again (a seek, a repeated fetch) is nothing new."""
    mark = Watermark(start)
    taken = [offset for offset in offsets if mark.take(offset)]

    assert sorted(set(taken)) == taken
    assert all(offset >= start for offset in taken)


def test_a_slow_record_holds_the_watermark_back_and_not_the_work() -> None:
    """Records that are completed behind it are listed beside the commit."""
    mark = Watermark(0)
    for offset in range(6):
        mark.take(offset)
    for offset in (0, 2, 3, 5):
        mark.settle(offset)

    assert 1 == mark.committable
    assert [(2, 4), (5, 6)] == mark.completed_beyond()
    mark.settle(1)
    assert 4 == mark.committable


def test_what_was_done_before_a_restart_is_not_forgotten_by_a_second_one() -> None:
    """A restart that has not come as far as the one before still knows what that one had completed."""
    mark = Watermark(10, [(12, 15), (20, 25)])

    assert [True, True] == [mark.take(offset) for offset in (10, 11)]
    assert [(12, 15), (20, 25)] == mark.completed_beyond()
    # nor in the middle of a range
    assert not mark.take(12)
    assert [(12, 15), (20, 25)] == mark.completed_beyond()
    assert [False, False, True] == [mark.take(offset) for offset in (13, 14, 15)]
    assert [(12, 15), (20, 25)] == mark.completed_beyond()
