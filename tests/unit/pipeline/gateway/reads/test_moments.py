import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.reads.moments import LAST_US, read_moment, show_moment, show_moment_or_none


def test_moments_are_shown_in_utc_with_microseconds() -> None:
    """Clients compare the text, so it has always the same form."""
    assert show_moment(0) == "1970-01-01T00:00:00.000000Z"
    assert show_moment(1_795_500_460_123_456) == "2026-11-24T06:07:40.123456Z"
    assert show_moment_or_none(None) is None


@given(st.integers(0, LAST_US))
def test_what_is_shown_reads_back_the_same(at_us: int) -> None:
    """No microsecond is lost between a page's cursor and the next page."""
    assert at_us == read_moment(show_moment(at_us))


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_number_can_be_shown(at_us: int) -> None:
    """A producer's absurd clock does not make its event unreadable."""
    assert show_moment(at_us).endswith("Z")


@pytest.mark.parametrize("text", ["2026-11-24T07:07:40+01:00", "2026-11-24T07:07:40 01:00", "2026-11-24T06:07:40Z"])
def test_offsets_are_understood(text: str) -> None:
    """Also with a plus sign that arrived unescaped."""
    assert read_moment(text) == 1_795_500_460_000_000


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T06:07:40", "1795500460"])
def test_anything_else_is_refused(text: str) -> None:
    """A moment without a time zone could mean anything."""
    with pytest.raises(ValueError):  # noqa: PT011 - whichever reading stumbles over it; only the class is promised
        read_moment(text)
