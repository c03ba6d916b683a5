import pytest

from pipeline.core.log.restoring import Noted, Part, compare

PLACE = ("t.events", 0)


@pytest.mark.parametrize(
    ("noted", "again", "gone"),
    [
        (None, 70, 30),  # nothing was archived, and the log has lost its first 30
        (Noted(0, None, None), 70, 30),
        (Noted(30, "one", 1), 70, 0),
        (Noted(60, "one", 1), 40, 0),
        (Noted(100, "one", 1), 0, 0),
        (Noted(10, "one", 1), 70, 20),
    ],
)
def test_what_comes_again_and_what_is_gone(noted: Noted | None, again: int, gone: int) -> None:
    """The log has offsets 30 to 100."""
    positions = {} if noted is None else {PLACE: noted}

    assert [Part(place=PLACE, again=again, gone=gone)] == compare(positions, {PLACE: (30, 100)}, {"t.events": "one"})


@pytest.mark.parametrize(
    ("noted", "words", "again", "gone"),
    [(Noted(60, "other", 1), "made again", 70, 30), (Noted(120, "one", 1), "lost its end", 0, 0)],
)
def test_a_position_that_says_nothing_of_this_log(noted: Noted, words: str, again: int, gone: int) -> None:
    """The position counts in a topic of before, or the log has lost its end."""
    (part,) = compare({PLACE: noted}, {PLACE: (30, 100)}, {"t.events": "one"})

    assert words in part.problem
    assert (again, gone) == (part.again, part.gone)
