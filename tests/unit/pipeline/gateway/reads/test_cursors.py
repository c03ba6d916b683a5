import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.events.moments import LAST_US
from pipeline.gateway.reads.queries import read_cursor, show_cursor
from pipeline.postgres.archive.paging import Cursor


@given(st.integers(0, LAST_US), st.uuids())
def test_a_cursor_comes_back_the_same(created_at_us: int, attempt_id: object) -> None:
    """The next page starts exactly behind the last attempt of this one; padding is optional."""
    cursor = Cursor(created_at_us=created_at_us, attempt_id=str(attempt_id))
    text = show_cursor(cursor)

    assert cursor == read_cursor(text)
    assert cursor == read_cursor(text + "=" * (-len(text) % 4))


@given(st.text(max_size=300))
def test_nonsense_is_a_value_error(text: str) -> None:
    """A client's cursor never reaches the database unread."""
    with pytest.raises(ValueError):  # noqa: PT011 - whichever reading stumbles over it; only the class is promised
        read_cursor(text)


@pytest.mark.parametrize("inside", ["[]", "{}", '{"date":1,"id":2}', '{"date":"2026-11-24T06:07:40Z","id":"x"}'])
def test_another_shape_is_a_value_error(inside: str) -> None:
    """Base64 of something else is no cursor either."""
    with pytest.raises(ValueError):  # noqa: PT011 - whichever reading stumbles over it; only the class is promised
        read_cursor(base64.urlsafe_b64encode(inside.encode()).decode())
