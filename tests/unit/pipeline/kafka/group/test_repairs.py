"""Answers about a partition apply to where it is read now, whatever it was asked for before."""

import pytest

from pipeline.kafka.group.repairs import applies
from pipeline.kafka.read_faults import Kind, ReadFault
from pipeline.kafka.recovery import Answer, Reached

PLACE = ("events", 0)


def answer(kind: Kind, begin: int, end: int, *, position: int | None) -> Answer:
    return Answer(ReadFault(PLACE, kind, begin, end, ""), position)


@pytest.mark.parametrize(
    ("found", "reached", "is_stopped", "expected"),
    [
        # the log was cut off at 30 and has grown again: an answer of before says that 60 can be read
        (answer("unreadable", 60, 60, position=60), 30, True, False),
        (answer("unreadable", 60, 60, position=60), 30, False, False),
        (answer("unreadable", 60, 60, position=60), 60, True, True),
        (answer("tail_lost", 60, 40, position=60), 60, True, True),
        (answer("tail_lost", 60, 40, position=60), 30, True, False),
        (answer("head_lost", 60, 70, position=60), 60, True, True),
        (answer("made_again", 60, 0, position=60), 60, True, True),
        (answer("made_again", 60, 0, position=60), 0, True, False),
        # found beside reading: a cut takes it back, and never forward
        (answer("tail_lost", 60, 30, position=None), 60, True, True),
        (answer("tail_lost", 60, 30, position=None), 75, False, True),
        (answer("tail_lost", 60, 30, position=None), 10, False, False),
        # nothing came of 50 for a while: what cannot be read lies at or behind it
        (answer("unreadable", 50, 55, position=50), 50, False, True),
        (answer("unreadable", 50, 55, position=50), 52, False, False),
    ],
)
def test_an_answer_applies_where_it_was_asked(found: Answer, reached: int, is_stopped: bool, expected: bool) -> None:
    """No answer moves a partition over records that nothing has read."""
    assert applies(found, Reached(reached), is_stopped=is_stopped) is expected


def test_no_answer_applies_to_a_partition_that_went_away() -> None:
    """A partition that went away is read by another member."""
    assert not applies(answer("tail_lost", 60, 30, position=None), None, is_stopped=False)
