"""Reading attempts from the archive, those that are still to be made among them.

A delivery stands for its first attempt, a failed attempt for the one after it, whether they were made or not. So an
attempt is in the list from the moment it is owed, its place (`created_at_us`) never changes, and a page that has been
read stays as it is however many attempts are made meanwhile. What was owed by an event appended before its
subscription was disabled or deleted has failed at that moment.

With a filter by status a page looks at `SCANNED_MAX` attempts at most, however few of them have that status; where it
stopped, the next one goes on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import msgspec
from psycopg.rows import args_row, tuple_row
from psycopg.sql import SQL, Composable, Composed
from psycopg.sql import Literal as Number

from pipeline.postgres.archive.bodies import unpack_body
from pipeline.postgres.archive.paging import (
    SCANNED_MAX,
    Cursor,
    ListFilter,
    ScanTexts,
    find_end_of_scan,
    find_neighbours,
    list_values,
    read_scan,
)
from pipeline.postgres.pool import Pool

PAGE_MAX = 50
Status = Literal["waiting", "pending", "in_progress", "successful", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


class ArchivedAttempt(msgspec.Struct, frozen=True):
    """An attempt, made or owed; a row of `LISTED`.

    `outcome`: None while it is owed, else succeeded, failed or cancelled.
    `status` in_progress: the request was open for more than a second when deliver told of it, and has no outcome yet.
    """

    attempt_id: str
    attempt_number: int
    delivery_id: str
    event_id: str
    event_type: str
    subscription_id: str
    description: str | None
    created_at_us: int
    due_at_us: int | None  # None: at once
    asked_at_us: int | None  # when a person asked for it; None: not asked for
    outcome: str | None
    started_at_us: int | None
    finished_at_us: int | None
    response_status: int | None
    error_class: str | None
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPage:
    """Newest first. `before` and `after`: cursors of the pages of newer and of older ones; None: there are none."""

    attempts: list[ArchivedAttempt]
    before: Cursor | None
    after: Cursor | None

    def __len__(self) -> int:
        return len(self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedResponse:
    """The request sent and its answer, or the error instead. Secrets are redacted, headers and body capped.

    `timings_us`: dns, connect, tls, first_byte, total, as far as they were reached.
    """

    attempt_id: str
    request_method: str
    request_url: str
    request_headers: dict[str, str]
    timings_us: dict[str, int]
    next_due_at_us: int | None
    error_class: str | None
    error_detail: str | None
    status: int | None
    headers: dict[str, str]
    body: bytes
    elapsed_us: int


class _ResponseRow(msgspec.Struct, frozen=True):
    """A row of `RESPONSE_COLUMNS`."""

    attempt_id: str
    request_method: str
    request_url: str
    request_headers: str
    timings_us: str
    next_due_at_us: int | None
    error_class: str | None
    error_detail: str | None
    status: int | None
    headers: str
    body: bytes
    compressed: bool
    elapsed_us: int


# First attempts by `deliveries`, later ones by the failure before them, those that a person asked for by `replays`. An
# exhausted delivery owes nothing more, but may have been redriven. Each part has an index in the order of the list. A
# replay and its retries count from when it was asked for: a subscription that was disabled before that does not cancel
# them.
OWED = SQL("""
with owed as (
    (select d.day, d.application_id, d.event_id, d.delivery_id, d.subscription_id, d.event_type, d.appended_at_us,
        1 as attempt_number, d.first_attempt_id as attempt_id, d.matched_at_us as created_at_us,
        null::bigint as due_at_us, null::bigint as asked_at_us
    from deliveries d where {first_where}
    order by d.matched_at_us {way}, d.first_attempt_id {way} limit {limit})
    union all
    (select f.day, f.application_id, f.event_id, f.delivery_id, f.subscription_id, f.event_type,
        coalesce((select max(r.asked_at_us) from replays r where r.application_id = f.application_id
            and r.event_id = f.event_id and r.delivery_id = f.delivery_id
            and r.attempt_number <= f.attempt_number), f.appended_at_us),
        f.attempt_number + 1, f.next_attempt_id, f.finished_at_us, f.next_due_at_us, null
    from attempts f where f.outcome <> 'succeeded' and {later_where}
        and (f.next_due_at_us is not null or exists (select from attempts n where n.day = f.day
            and n.application_id = f.application_id and n.event_id = f.event_id and n.delivery_id = f.delivery_id
            and n.attempt_number = f.attempt_number + 1))
        and not exists (select from replays r where r.attempt_id = f.next_attempt_id)
    order by f.finished_at_us {way}, f.next_attempt_id {way} limit {limit})
    union all
    (select r.day, r.application_id, r.event_id, r.delivery_id, r.subscription_id, r.event_type, r.asked_at_us,
        r.attempt_number, r.attempt_id, r.asked_at_us, null, r.asked_at_us
    from replays r where {asked_where}
    order by r.asked_at_us {way}, r.attempt_id {way} limit {limit})
)
""")
MADE = SQL("""
    attempts a on a.day = o.day and a.application_id = o.application_id and a.event_id = o.event_id
    and a.delivery_id = o.delivery_id and a.attempt_number = o.attempt_number
""")
LISTED = SQL("""
{owed}
select * from (
select o.attempt_id::text, o.attempt_number, o.delivery_id::text, o.event_id::text, o.event_type,
    o.subscription_id::text, s.description, o.created_at_us, o.due_at_us, o.asked_at_us,
    case when a.outcome is not null then a.outcome when c.cancelled then 'cancelled' end as outcome,
    coalesce(a.started_at_us, u.started_at_us) as started_at_us,
    case when a.outcome is not null then a.finished_at_us
        when c.cancelled then greatest(o.created_at_us, c.cancelled_before_us) end as finished_at_us,
    a.response_status, a.error_class,
    case when a.outcome = 'succeeded' then 'successful' when a.outcome is not null or c.cancelled then 'failed'
        when u.attempt_id is not null then 'in_progress'
        when o.due_at_us > %(now_us)s then 'waiting' else 'pending' end as status{more}
from (select * from owed order by created_at_us {way}, attempt_id {way} limit {scanned}) o
left join {made}
left join open_requests u on u.attempt_id = o.attempt_id and a.outcome is null and u.until_us > %(now_us)s
left join subscriptions s on s.subscription_id = o.subscription_id
cross join lateral (select (extract(epoch from s.cancelled_before) * 1000000)::bigint as cancelled_before_us,
    coalesce(o.appended_at_us < (extract(epoch from s.cancelled_before) * 1000000)::bigint, false) as cancelled) c
) chosen {statuses} order by created_at_us {way}, attempt_id {way} limit {page}
""")
END_OF_SCAN = SQL("""
{owed}
select created_at_us, attempt_id::text from owed order by created_at_us {way}, attempt_id {way} limit 1 offset {offset}
""")
RESPONSE_COLUMNS = SQL("""
    o.attempt_id::text as response_id, a.request_method, a.request_url, a.request_headers, a.timings_us,
    a.next_due_at_us, a.error_class, a.error_detail, a.response_status, a.response_headers, a.response_body,
    a.response_compressed, a.finished_at_us - a.started_at_us""")
ANSWERED = SQL("""
{owed}
select {columns} from owed o join {made} where a.outcome <> 'cancelled' limit 1
""")


async def list_attempts(pool: Pool, wanted: ListFilter, *, statuses: Sequence[str] = (), now_us: int) -> AttemptPage:
    """A page of at most 50. `statuses`: one of these; empty: any, and every page with attempts leads on."""
    is_backward = wanted.after is not None and wanted.after.is_backward
    values = list_values(wanted) | {"now_us": now_us} | ({"statuses": list(statuses)} if statuses else {})
    # only the filters that are set take part in the plan
    texts = _compose_page(frozenset(values), is_backward=is_backward)
    found, end = await read_scan(
        lambda: pool.fetch(texts.page, values, args_row(ArchivedAttempt)),
        (lambda: find_end_of_scan(pool, texts, values)) if statuses else None,
        page_max=PAGE_MAX,
        is_backward=is_backward,
    )
    first, last = (_point_at(found[0]), _point_at(found[-1])) if found else (None, None)
    end = last if not statuses or len(found) == PAGE_MAX else end
    before, after = find_neighbours(first, last, after=wanted.after, end=end)
    return AttemptPage(attempts=found[::-1] if is_backward else found, before=before, after=after)


async def find_attempt(pool: Pool, application_id: str, attempt_id: str, *, now_us: int) -> ArchivedAttempt | None:
    """One attempt, made or owed, or None."""
    found = await pool.fetch(
        ONE_ATTEMPT,
        {"application_id": application_id, "attempt_id": attempt_id, "now_us": now_us},
        args_row(ArchivedAttempt),
    )
    return found[0] if found else None


async def find_exchange(
    pool: Pool, application_id: str, attempt_id: str, *, now_us: int
) -> tuple[ArchivedAttempt, ArchivedResponse | None] | None:
    """One attempt with the response to it, as `find_attempt` and `find_response` have them: one query for both."""
    values = {
        "application_id": application_id,
        "attempt_id": attempt_id,
        "now_us": now_us,
    }
    found = await pool.fetch(ONE_EXCHANGE, values, tuple_row)
    if not found:
        return None
    row = found[0]
    attempt = ArchivedAttempt(*row[:ATTEMPT_COLUMNS])
    has_request = attempt.outcome in ("succeeded", "failed")
    return attempt, _read_response(_ResponseRow(*row[ATTEMPT_COLUMNS:])) if has_request else None


async def find_response(pool: Pool, application_id: str, attempt_id: str) -> ArchivedResponse | None:
    """The response to an attempt, or its error; None when there was no request."""
    values = {"application_id": application_id, "attempt_id": attempt_id}
    found = await pool.fetch(ONE_RESPONSE, values, args_row(_ResponseRow))
    return _read_response(found[0]) if found else None


def _read_response(row: _ResponseRow) -> ArchivedResponse:
    return ArchivedResponse(
        attempt_id=row.attempt_id,
        request_method=row.request_method,
        request_url=row.request_url,
        request_headers=json.loads(row.request_headers),
        timings_us=json.loads(row.timings_us),
        next_due_at_us=row.next_due_at_us,
        error_class=row.error_class,
        error_detail=row.error_detail,
        status=row.status,
        headers=json.loads(row.headers),
        body=unpack_body(row.body, compressed=row.compressed),
        elapsed_us=row.elapsed_us,
    )


def _owe(conditions: Sequence[SQL], *, way: SQL, limit: int) -> Composed:
    """`conditions`: with `{row}`, `{created}` and `{id}` for what these are in each of the three parts."""
    both = SQL(" and ")

    def where(row: SQL, created: SQL, attempt_id: SQL) -> Composed:
        return both.join([each.format(row=row, created=created, id=attempt_id) for each in conditions])

    return OWED.format(
        first_where=where(SQL("d"), SQL("matched_at_us"), SQL("first_attempt_id")),
        later_where=where(SQL("f"), SQL("finished_at_us"), SQL("next_attempt_id")),
        asked_where=where(SQL("r"), SQL("asked_at_us"), SQL("attempt_id")),
        way=way,
        limit=Number(limit),  # no parameter: a plan for all values would expect any number of rows
    )


OF_APPLICATION = SQL("{row}.application_id = %(application_id)s")
DESCENDING = SQL("desc")
OWED_ONE = _owe((OF_APPLICATION, SQL("{row}.{id} = %(attempt_id)s")), way=DESCENDING, limit=1)


def _find_one(more: Composable) -> bytes:
    return LISTED.format(
        owed=OWED_ONE, made=MADE, way=DESCENDING, scanned=SQL("1"), statuses=SQL(""), page=SQL("1"), more=more
    ).as_bytes(None)


ATTEMPT_COLUMNS = len(ArchivedAttempt.__struct_fields__)
ONE_ATTEMPT = _find_one(SQL(""))
ONE_EXCHANGE = _find_one(SQL(", ") + RESPONSE_COLUMNS)
ONE_RESPONSE = ANSWERED.format(owed=OWED_ONE, made=MADE, columns=RESPONSE_COLUMNS).as_bytes(None)
CONDITIONS = {
    "application_id": OF_APPLICATION,
    "event_id": SQL("{row}.event_id = %(event_id)s"),
    "subscription_id": SQL("{row}.subscription_id = %(subscription_id)s"),
    "event_types": SQL("{row}.event_type = any(%(event_types)s)"),
    "created_min_us": SQL("{row}.{created} >= %(created_min_us)s"),
    "created_max_us": SQL("{row}.{created} <= %(created_max_us)s"),
}
OLDER = SQL("({row}.{created}, {row}.{id}) < (%(after_us)s, %(after_id)s::uuid)")
NEWER = SQL("({row}.{created}, {row}.{id}) > (%(after_us)s, %(after_id)s::uuid)")


@cache  # as many as there are sets of filters
def _compose_page(given: frozenset[str], *, is_backward: bool) -> ScanTexts:
    conditions = [condition for name, condition in CONDITIONS.items() if name in given]
    if "after_us" in given:
        conditions.append(NEWER if is_backward else OLDER)
    way = SQL("asc" if is_backward else "desc")
    scanned = SCANNED_MAX if "statuses" in given else PAGE_MAX
    owed = _owe(conditions, way=way, limit=scanned)
    page = LISTED.format(
        owed=owed,
        made=MADE,
        way=way,
        scanned=Number(scanned),
        statuses=SQL("where status = any(%(statuses)s)") if "statuses" in given else SQL(""),
        page=Number(PAGE_MAX),
        more=SQL(""),
    )
    end_of_scan = END_OF_SCAN.format(owed=owed, way=way, offset=Number(SCANNED_MAX - 1))
    return ScanTexts(page=page.as_bytes(None), end_of_scan=end_of_scan.as_bytes(None))


def _point_at(attempt: ArchivedAttempt) -> Cursor:
    return Cursor(created_at_us=attempt.created_at_us, attempt_id=attempt.attempt_id)
