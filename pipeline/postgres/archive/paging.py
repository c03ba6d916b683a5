"""Common parts of the archive's lists: filters, the places where a page ends, and how pages lead on and back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from psycopg.rows import class_row

from pipeline.postgres.pool import Pool

RowT = TypeVar("RowT")

# A page of a filtered list looks at no more rows than these, however few of them fit.
SCANNED_MAX = 2_000
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in a list: the last item of the page before. `is_backward`: newer items are wanted, nearest first."""

    created_at_us: int
    attempt_id: str
    is_backward: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilter:
    """Selects attempts or deliveries. Bounds are inclusive; an empty tuple of event types means all of them."""

    application_id: str
    event_id: str | None = None
    subscription_id: str | None = None
    created_min_us: int | None = None
    created_max_us: int | None = None
    event_types: tuple[str, ...] = ()
    after: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTexts:
    """The statements of a list: its page, and the place where a page that is not full ended its scan."""

    page: bytes
    end_of_scan: bytes


async def find_end_of_scan(pool: Pool, texts: ScanTexts, values: Mapping[str, object]) -> Cursor | None:
    """Where the scan of a page ends; None: it sees all."""
    places = await pool.fetch(texts.end_of_scan, values, class_row(Cursor))
    return places[0] if places else None


async def read_scan(
    read: Callable[[], Awaitable[list[RowT]]],
    find_end: Callable[[], Awaitable[Cursor | None]] | None,
    *,
    page_max: int,
    is_backward: bool,
) -> tuple[list[RowT], Cursor | None]:
    """A page, and where the scan ended that did not fill it; None: it saw all. `find_end`: None: every row fits.

    Items come meanwhile. Towards newer ones the end is found first: one that comes then lies behind it, or makes it be
    found next time. The other way an end that was found first would lie behind items that the page has not seen.
    """
    if find_end is None:
        return await read(), None
    end = await find_end() if is_backward else None
    found = await read()
    if len(found) == page_max:
        return found, None
    return found, end if is_backward else await find_end()


def list_values(wanted: ListFilter) -> dict[str, object]:
    """Values of the filters that are set, by the names that statements have for them."""
    values: dict[str, object] = {
        "application_id": wanted.application_id,
        "event_id": wanted.event_id,
        "subscription_id": wanted.subscription_id,
        "event_types": list(wanted.event_types) or None,
        "created_min_us": wanted.created_min_us,
        "created_max_us": wanted.created_max_us,
    }
    if wanted.after is not None:
        values |= {"after_us": wanted.after.created_at_us, "after_id": wanted.after.attempt_id}
    return {name: value for name, value in values.items() if value is not None}


def turn_back(cursor: Cursor | None) -> Cursor | None:
    """Turn a cursor round: the page before it, towards newer items."""
    return replace(cursor, is_backward=True) if cursor is not None else None


def find_neighbours(
    first: Cursor | None,
    last: Cursor | None,
    *,
    after: Cursor | None,
    end: Cursor | None,
    is_oldest_first: bool = False,
) -> tuple[Cursor | None, Cursor | None]:
    """Cursors of the pages before and after: of newer and of older items, or the other way round.

    `first`, `last`: of the items found, in the order of the search; `after`: where the search began; `end`: where it
    stopped before all was seen. Without items the way back begins with the item at which the search began.
    """
    towards_start, towards_end = (move_older, move_newer) if is_oldest_first else (move_newer, move_older)
    if after is not None and after.is_backward:
        return turn_back(end or last or after), first or towards_start(after)
    return turn_back(first or (towards_end(after) if after is not None else None)), end


def move_newer(cursor: Cursor) -> Cursor:
    """The place next to it towards newer items: older ones begin with the item at the cursor."""
    number = UUID(cursor.attempt_id).int
    if number == LAST_ID.int:
        return Cursor(created_at_us=cursor.created_at_us + 1, attempt_id=str(FIRST_ID))
    return Cursor(created_at_us=cursor.created_at_us, attempt_id=str(UUID(int=number + 1)))


def move_older(cursor: Cursor) -> Cursor:
    """The place next to it towards older items: newer ones begin with the item at the cursor."""
    number = UUID(cursor.attempt_id).int
    if number == FIRST_ID.int:
        return Cursor(created_at_us=cursor.created_at_us - 1, attempt_id=str(LAST_ID))
    return Cursor(created_at_us=cursor.created_at_us, attempt_id=str(UUID(int=number - 1)))
