"""Notes of commits about the log."""

import pytest

from pipeline.kafka.log_guard import Commit, RecordTime, parse_commit


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("epoch=3@120,134:1764550000123", Commit(140, 120, 3, (RecordTime(134, 1764550000123),))),
        ("epoch=3@120", Commit(140, 120, 3, ())),
        ("epoch=3@200", Commit(140, 140, 3, ())),  # looked at further on than what is done
        ("epoch=3", Commit(140, 140, 3, ())),  # of a version before
        ("", None),
        ("epoch=", None),
        ("something else", None),
    ],
)
def test_notes_of_commits(note: str, expected: Commit | None) -> None:
    """The offset up to which the log was looked at, under which leader, and the last record read since."""
    assert expected == parse_commit(140, note)
