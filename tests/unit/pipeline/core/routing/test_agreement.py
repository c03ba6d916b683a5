"""Telling a log that this database has written from one that it has not."""

import pytest

from pipeline.core.routing.agreement import Verdict, judge

NEWEST, PUBLISHED = (9, "i"), (7, "g")


@pytest.mark.parametrize(
    ("logged", "verdict"),
    [
        ((9, "i"), Verdict.AGREED),
        # a change is being published, or its gateway died before it could say so
        ((8, "h"), Verdict.AGREED),
        ((7, "g"), Verdict.AGREED),
        # published before there were ids
        ((7, ""), Verdict.AGREED),
        # not read so far yet, or the log was lost
        ((6, "f"), Verdict.BEHIND),
        (None, Verdict.BEHIND),
        # the database went back in time
        ((10, "j"), Verdict.FOREIGN),
        ((10, ""), Verdict.FOREIGN),
        # and was changed since
        ((9, "x"), Verdict.FOREIGN),
        ((7, "x"), Verdict.FOREIGN),
    ],
)
def test_verdicts(logged: tuple[int, str] | None, verdict: Verdict) -> None:
    """The log lies between what was published for sure and the newest change, and has the same changes."""
    assert verdict is judge(logged, newest=NEWEST, published=PUBLISHED)


def test_nothing_is_missed_of_an_application_that_was_never_published() -> None:
    """The application's first change is under way."""
    assert Verdict.AGREED is judge(None, newest=(1, "a"), published=(0, ""))
