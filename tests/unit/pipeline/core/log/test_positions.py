"""Positions of the archive: whatever comes, a step never leaves a record out."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.positions import NOTHING_YET, HoleError, Positions, Step

PLACE = ("events", 0)


def begin(position: int) -> Positions:
    positions = Positions()
    positions.begin(PLACE, position)
    return positions


def test_records_one_after_the_other() -> None:
    """The step goes from what is written to behind the last record."""
    assert Step(3, 6, 3, 0) == begin(3).plan(PLACE, [3, 4, 5])


def test_the_first_ones_of_a_partition() -> None:
    """Nothing was ever written: the log begins at 0, or later, when retention took its beginning."""
    positions = begin(NOTHING_YET)
    assert Step(NOTHING_YET, 2, 2, 0) == positions.plan(PLACE, [0, 1])
    positions.note_vacant(PLACE, 0, 7)
    assert Step(NOTHING_YET, 8, 1, 7) == positions.plan(PLACE, [7])


def test_what_is_vacant_may_be_said_bit_by_bit() -> None:
    """Ends of transactions that come one after the other, and a record behind the last of them."""
    positions = begin(10)
    positions.note_vacant(PLACE, 10, 12)
    positions.note_vacant(PLACE, 12, 14)
    positions.note_vacant(PLACE, 16, 17)

    assert Step(10, 18, 3, 5) == positions.plan(PLACE, [14, 15, 17])


@pytest.mark.parametrize("offsets", [[4], [2], [3, 5], [3, 3], [4, 3]])
def test_a_hole_is_refused(offsets: list[int]) -> None:
    """Too far, behind what is written, a record left out, one twice, disorder."""
    with pytest.raises(HoleError, match=r"events \[0\]"):
        begin(3).plan(PLACE, offsets)


def test_what_was_said_to_be_vacant_is_forgotten_behind() -> None:
    """A vacancy counts once: a hole at the same place later is a hole."""
    positions = begin(0)
    positions.note_vacant(PLACE, 0, 2)
    positions.move(PLACE, 3)
    positions.begin(PLACE, 0)
    with pytest.raises(HoleError):
        positions.plan(PLACE, [2])


def test_what_was_confirmed_must_still_be_there() -> None:
    """A position that is read again may be further (a commit that was not confirmed), and never before."""
    positions = begin(3)
    positions.check_kept(PLACE, 3)
    positions.check_kept(PLACE, 5)
    positions.check_kept(("events", 1), 0)
    with pytest.raises(HoleError, match="lost transactions"):
        positions.check_kept(PLACE, 2)


def test_a_partition_that_went_away_is_not_spoken_of() -> None:
    """Reports that come later about such a partition change nothing."""
    positions = begin(0)
    positions.forget(PLACE)
    positions.note_vacant(PLACE, 0, 2)
    positions.move(PLACE, 3)
    with pytest.raises(KeyError):
        positions.read_on_at(PLACE)


@given(
    has_record=st.lists(st.booleans(), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    lost=st.none() | st.integers(0, 40),
)
def test_no_record_is_ever_left_out(has_record: list[bool], cuts: list[int], lost: int | None) -> None:
    """All records of any log, in any batches, are in the steps, or the step that lacks one is refused."""
    offsets = [offset for offset, is_record in enumerate(has_record) if is_record]
    positions, expected = begin(NOTHING_YET), 0
    for offset in offsets:
        if offset != expected:
            positions.note_vacant(PLACE, expected, offset)
        expected = offset + 1
    bounds = sorted({0, len(offsets), *(cut for cut in cuts if cut < len(offsets))})
    written = 0
    for first, end in itertools.pairwise(bounds):
        batch = [offset for offset in offsets[first:end] if offset != lost]
        try:
            step = positions.plan(PLACE, batch)
        except HoleError:
            assert lost in offsets
            return
        assert step.next_offset == max(step.from_offset, 0) + step.records + step.vacant or not batch
        positions.move(PLACE, step.next_offset)
        written += step.records
    # the last one of all can be lost without anything behind it that would show it: its place is not passed
    assert written == len(offsets) or positions.read_on_at(PLACE) <= offsets[-1]
