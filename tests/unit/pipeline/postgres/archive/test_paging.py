"""Cursors of neighbouring pages: neither repeats an item nor skips one, also around pages that are empty."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.postgres.archive.paging import FIRST_ID, LAST_ID, Cursor, find_neighbours, move_newer, move_older

CURSORS = st.builds(
    Cursor,
    created_at_us=st.integers(1, 2**50),
    attempt_id=st.one_of(st.uuids().map(str), st.sampled_from([str(FIRST_ID), str(LAST_ID)])),
)


def order(cursor: Cursor) -> tuple[int, str]:
    """The order of lists; UUIDs sort as their texts do."""
    return cursor.created_at_us, cursor.attempt_id


@given(CURSORS)
def test_the_places_next_to_an_item(cursor: Cursor) -> None:
    """Strictly on either side of it, with no room for another item between."""
    newer, older = move_newer(cursor), move_older(cursor)

    assert order(older) < order(cursor) < order(newer)
    assert cursor == move_older(newer) == move_newer(older)


@given(CURSORS)
def test_an_empty_page_leads_back_to_where_it_began(after: Cursor) -> None:
    """The way back begins with the item at the cursor, which was on the page before."""
    before, none = find_neighbours(None, None, after=after, end=None)
    assert (True, None) == (before is not None and before.is_backward, none)
    assert before is not None
    assert order(before) < order(after)
    backward = Cursor(created_at_us=after.created_at_us, attempt_id=after.attempt_id, is_backward=True)
    again, older = find_neighbours(None, None, after=backward, end=None)
    assert again == backward
    assert older is not None
    assert order(older) > order(after)
    assert not older.is_backward


def test_an_empty_list_leads_nowhere() -> None:
    """Nothing is there, in either direction."""
    assert (None, None) == find_neighbours(None, None, after=None, end=None)
