import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.log.commit_note import METADATA_MAX_BYTES, CommitNote, Range, fits, format_note, parse_note

OFFSETS = st.integers(0, 2**62)
ATTEMPTS = st.none() | st.integers(0, 2**62)


@st.composite
def ranges_beyond(draw: st.DrawFn, max_size: int = 30) -> tuple[int, tuple[Range, ...]]:
    """A watermark, and ranges beyond it: ascending, apart from each other."""
    at = watermark = draw(OFFSETS)
    done = []
    for opened, completed in draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=max_size)):
        done.append((at + opened, at + opened + completed))
        at += opened + completed
    return watermark, tuple(done)


@given(ranges_beyond(), ATTEMPTS)
def test_a_note_comes_back(known: tuple[int, tuple[Range, ...]], attempts_offset: int | None) -> None:
    """A note that fits into the metadata of a commit is read back as it was."""
    watermark, done = known
    note = CommitNote(done=done, attempts_offset=attempts_offset)

    assert fits(watermark, done)
    assert note == parse_note(watermark, format_note(watermark, note))


@given(st.integers(0, 10_000), st.integers(1, 2**40), st.integers(1, 2**40), st.integers(0, 2**62))
def test_a_note_is_never_too_long(count: int, opened: int, completed: int, watermark: int) -> None:
    """Kafka would refuse the commit. What does not fit is left out from the end: more is repeated, nothing is lost."""
    step = opened + completed
    done = tuple((watermark + n * step + opened, watermark + (n + 1) * step) for n in range(count))
    metadata = format_note(watermark, CommitNote(done=done, attempts_offset=2**63 - 1))
    back = parse_note(watermark, metadata)

    assert len(metadata.encode()) <= METADATA_MAX_BYTES
    assert done[: len(back.done)] == back.done
    assert 2**63 - 1 == back.attempts_offset
    assert fits(watermark, done) == (len(back.done) == count)


@given(OFFSETS, st.none() | st.text())
def test_any_metadata_can_be_read(watermark: int, metadata: str | None) -> None:
    """Foreign or damaged metadata is ignored; it never stops a process from starting."""
    assert isinstance(parse_note(watermark, metadata), CommitNote)


@given(ranges_beyond(max_size=5), ATTEMPTS, st.data())
def test_damage_never_invents_what_was_before_the_watermark(
    known: tuple[int, tuple[Range, ...]], attempts_offset: int | None, data: st.DataObject
) -> None:
    """A note's ranges are ascending and beyond the watermark, however its characters were changed."""
    watermark, done = known
    characters = list(format_note(watermark, CommitNote(done=done, attempts_offset=attempts_offset)))
    at = data.draw(st.integers(0, len(characters) - 1))
    characters[at] = data.draw(st.characters(codec="ascii"))
    ends = [watermark]
    for first, end in parse_note(watermark, "".join(characters)).done:
        ends += [first, end]

    assert sorted(ends) == ends


@pytest.mark.parametrize(
    "metadata", [None, "", "2;7;AAE=", "1", "1;x;", "1;;!", "1;;gA==", "1;7;AQ==", ";;", "1;7;8;9"]
)
def test_what_cannot_be_read_says_nothing_of_ranges(metadata: str | None) -> None:
    """No note, another version's, half a note: nothing counts as done."""
    assert () == parse_note(100, metadata).done


def test_known_form() -> None:
    """The form is kept over versions: a process of today reads what one of yesterday committed."""
    note = CommitNote(done=((103, 105), (305, 306)), attempts_offset=42)

    assert "1;42;AwLIAQE=" == format_note(100, note)
    assert "1;;" == format_note(100, CommitNote())
