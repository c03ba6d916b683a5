from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.commit_metadata import join_note, split_note
from pipeline.kafka.partitions import find_committed

IDS = st.none() | st.just("lJ2nZbXvRXqAMJlzb7fA0w")
NOTES = st.sampled_from(["", "epoch=3", "1;17;AQID", "1;;"])


@given(IDS, NOTES, st.text())
def test_what_lies_behind_the_end_is_left_out(topic_id: str | None, note: str, behind: str) -> None:
    """The client hands out bytes of its memory behind the text."""
    metadata = join_note(topic_id, note)

    assert (topic_id, note) == split_note(metadata)
    if metadata:
        assert (topic_id, note) == split_note(metadata + behind)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(None, (None, "")), ("", (None, "")), ("epoch=3", (None, "epoch=3")), ("x|1;;", ("x", "1;;"))],
)
def test_metadata_of_before(metadata: str | None, expected: tuple[str | None, str]) -> None:
    """Older metadata has no end, or is empty."""
    assert expected == split_note(metadata)


class Answer:
    """Answer for one partition; `is_text`: can its metadata be read?"""

    topic, partition, error = "t", 0, None

    def __init__(self, *, is_text: bool) -> None:
        self._is_text = is_text

    @property
    def metadata(self) -> str:
        if self._is_text:
            return "epoch=3!"
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def ask(answers: list[bool]) -> dict[Any, Any]:
    """`find_committed` of a client that answers so, one time after the other; each takes ten seconds."""
    now_s = iter(range(0, 1000, 10))
    left = iter(answers)
    consumer = SimpleNamespace(committed=lambda _, timeout: [Answer(is_text=next(left))])
    return find_committed(consumer, [("t", 0)], clock=lambda: float(next(now_s)), sleep=lambda _: None)


def test_metadata_that_is_no_text_is_asked_for_again() -> None:
    """Taken for nothing, what is committed beyond the watermark would be done again."""
    assert "epoch=3!" == ask([False, False, True])["t", 0].metadata


def test_metadata_that_stays_unreadable_is_an_error() -> None:
    """The error comes after half a minute."""
    with pytest.raises(KafkaException, match="no text"):
        ask([False] * 10)


def test_a_coordinator_that_is_away_is_asked_again() -> None:
    """Another coordinator answers: one that dies between the assignment and the question does not end the process."""
    gone = KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - the library's name
    moved = KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
    left: Iterator[Any] = iter([gone, moved, [Answer(is_text=True)]])

    def committed(_: object, timeout: float) -> Any:
        answer = next(left)
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    found = find_committed(SimpleNamespace(committed=committed), [("t", 0)], clock=lambda: 0.0, sleep=lambda _: None)

    assert "epoch=3!" == found["t", 0].metadata
