"""Lists of archived events, page by page, in the order of the log, which no producer's clock changes.

An application's events are in one partition, so that nothing is ever archived behind a place that was read already. A
page looks at `SCANNED_MAX` events at most, however few of them fit the filters; where it stopped, the next one goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

import msgspec
from psycopg.rows import TupleRow, tuple_row
from psycopg.sql import SQL, Composable

from pipeline.postgres.archive.paging import SCANNED_MAX, Cursor, ScanTexts, find_neighbours, read_scan
from pipeline.postgres.archive.reads import COLUMNS, ArchivedEvent
from pipeline.postgres.pool import Pool

PAGE_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Selects events. None or empty: any. Bounds of the time of receipt are inclusive."""

    application_id: str
    event_types: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    received_min_us: int | None = None
    received_max_us: int | None = None
    after: Cursor | None = None

    @property
    def is_selective(self) -> bool:
        """Does the search ask for more than the application's events in their order?"""
        return bool(self.event_types or self.labels) or (self.received_min_us, self.received_max_us) != (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Newest first. `before` and `after`: cursors of the pages of newer and of older ones; None: there are none."""

    events: list[ArchivedEvent]
    before: Cursor | None
    after: Cursor | None


async def list_events(pool: Pool, wanted: EventFilter) -> EventPage:
    """A page of at most 100."""
    is_backward = wanted.after is not None and wanted.after.is_backward
    text, values = _compose(_outline(wanted)), _list_values(wanted)

    async def find_end() -> Cursor | None:
        places = await pool.fetch(text.end_of_scan, values, tuple_row)
        return _point_at(places[0]) if places else None

    found, end = await read_scan(
        lambda: pool.fetch(text.page, values, tuple_row),
        find_end if wanted.is_selective else None,
        page_max=PAGE_MAX,
        is_backward=is_backward,
    )
    first, last = (_point_at(found[0]), _point_at(found[-1])) if found else (None, None)
    end = last if len(found) == PAGE_MAX else end
    events = [ArchivedEvent(*row[:-2]) for row in found]
    before, after = find_neighbours(first, last, after=wanted.after, end=end)
    return EventPage(events=events[::-1] if is_backward else events, before=before, after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """Which conditions a statement has; not their values."""

    is_backward: bool
    is_selective: bool
    has_after: bool
    has_types: bool
    has_min: bool
    has_max: bool
    has_labels: bool


def _outline(wanted: EventFilter) -> _Outline:
    return _Outline(
        is_backward=wanted.after is not None and wanted.after.is_backward,
        is_selective=wanted.is_selective,
        has_after=wanted.after is not None,
        has_types=bool(wanted.event_types),
        has_min=wanted.received_min_us is not None,
        has_max=wanted.received_max_us is not None,
        has_labels=bool(wanted.labels),
    )


@cache  # as many as there are sets of conditions
def _compose(outline: _Outline) -> ScanTexts:
    way = SQL("asc" if outline.is_backward else "desc")
    order = SQL("order by appended_at_us {way}, event_offset {way}").format(way=way)
    where = SQL("application_id = %(application_id)s").format()
    if outline.has_after:
        compared = SQL(">" if outline.is_backward else "<")
        where += SQL(" and (appended_at_us, event_offset) {} (%(after_us)s, %(after_offset)s)").format(compared)
    scanned = SQL("select * from events where {where} {order} limit {limit}").format(
        where=where, order=order, limit=SCANNED_MAX if outline.is_selective else PAGE_MAX
    )
    page = SQL(
        "select {columns}, appended_at_us, event_offset from ({scanned}) e {chosen} {order} limit {page}"
    ).format(columns=SQL(COLUMNS), scanned=scanned, chosen=_choose(outline), order=order, page=PAGE_MAX)
    end_of_scan = SQL(
        "select appended_at_us, event_offset from events where {where} {order} limit 1 offset {offset}"
    ).format(where=where, order=order, offset=SCANNED_MAX - 1)
    return ScanTexts(page=page.as_bytes(None), end_of_scan=end_of_scan.as_bytes(None))


def _choose(outline: _Outline) -> Composable:
    conditions: list[Composable] = []
    if outline.has_types:
        conditions.append(SQL("event_type = any(%(event_types)s)"))
    if outline.has_min:
        conditions.append(SQL("received_at_us >= %(received_min_us)s"))
    if outline.has_max:
        conditions.append(SQL("received_at_us <= %(received_max_us)s"))
    if outline.has_labels:
        # as text: `jsonb` does not take every label. A pair with the comma before it stands in it where it is written,
        # and nowhere else: without the comma it also ends a name that has a quote in it.
        conditions.append(
            SQL("(select bool_and(position(pair in ',' || right(labels, -1)) > 0) from unnest(%(pairs)s::text[]) pair)")
        )
    return SQL("where ") + SQL(" and ").join(conditions) if conditions else SQL("")


def _list_values(wanted: EventFilter) -> dict[str, object]:
    values: dict[str, object] = {
        "application_id": wanted.application_id,
        "event_types": list(wanted.event_types),
        "received_min_us": wanted.received_min_us,
        "received_max_us": wanted.received_max_us,
        "pairs": ["," + msgspec.json.encode({key: value})[1:-1].decode() for key, value in wanted.labels.items()],
    }
    if wanted.after is not None:
        values |= {"after_us": wanted.after.created_at_us, "after_offset": _read_offset(wanted.after.attempt_id)}
    return values


def _point_at(row: TupleRow) -> Cursor:
    """The place of a row that ends with when it was appended, and its offset."""
    appended_at_us, offset = row[-2:]
    # a cursor has a UUID, as those of other lists
    return Cursor(created_at_us=appended_at_us, attempt_id=str(UUID(int=offset)))


def _read_offset(text: str) -> int:
    return min(UUID(text).int, 2**63 - 1)
