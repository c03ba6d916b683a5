"""Reads deliveries from the archive, each with its state.

A delivery's state is worked out when it is read: of its last attempt, of what a person asked for since, of its dead
letter, and of its subscription. A page looks at `SCANNED_MAX` deliveries at most, however few of them have the state
that is asked for; where it stopped, the next one goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from psycopg.rows import class_row
from psycopg.sql import SQL
from psycopg.sql import Literal as Number

from pipeline.core.events.ids import derive_attempt_id
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
State = Literal["waiting", "parked", "delivered", "dead", "cancelled"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedDelivery:
    """A delivery. `state`: one of `STATES`; `reason`: why it is parked (breaker, held) or dead."""

    delivery_id: str
    first_attempt_id: str
    event_id: str
    event_type: str
    subscription_id: str
    description: str | None
    created_at_us: int
    state: State
    reason: str | None
    since_us: int
    next_attempt_at_us: int | None
    attempts_made: int
    last_attempt_id: str | None
    error_class: str | None
    error_detail: str | None
    response_status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """Newest first. `before` and `after`: cursors of the pages of newer and of older ones; None: there are none."""

    deliveries: list[ArchivedDelivery]
    before: Cursor | None
    after: Cursor | None


SCANNED = SQL("""
select d.* from deliveries d where {where} order by d.matched_at_us {way}, d.first_attempt_id {way} limit {limit}
""")
JUDGED = SQL("""
select d.delivery_id::text, d.first_attempt_id::text, d.event_id::text, d.event_type, d.subscription_id::text,
    s.description, d.matched_at_us as created_at_us, j.state,
    case j.state when 'dead' then coalesce(l.reason, 'exhausted') when 'parked' then
        case when e.opened_until_us > %(now_us)s then 'breaker' else 'held' end end as reason,
    case j.state when 'delivered' then a.finished_at_us
        when 'dead' then coalesce(l.died_at_us, a.finished_at_us)
        when 'cancelled' then case when a.outcome = 'cancelled' and not o.is_asked then a.finished_at_us
            else greatest(d.matched_at_us, c.cancelled_before_us) end
        else case when o.is_asked then r.asked_at_us else coalesce(a.finished_at_us, d.matched_at_us) end
        end as since_us,
    case when j.state = 'waiting' then o.due_at_us
        when j.state = 'parked' and e.opened_until_us > %(now_us)s
        then greatest(o.due_at_us, e.opened_until_us) end as next_attempt_at_us,
    coalesce(n.attempts_made, 0) as attempts_made, n.last_attempt_id::text, a.error_class, a.error_detail,
    a.response_status
from ({scanned}) d
left join lateral (select attempt_number, outcome, finished_at_us, next_due_at_us, error_class, error_detail,
    response_status from attempts where day = d.day and application_id = d.application_id and event_id = d.event_id
    and delivery_id = d.delivery_id order by attempt_number desc limit 1) a on true
left join lateral (select count(*) as attempts_made, (array_agg(attempt_id order by attempt_number desc))[1]
    as last_attempt_id from attempts where day = d.day and application_id = d.application_id
    and event_id = d.event_id and delivery_id = d.delivery_id and outcome <> 'cancelled') n on true
left join lateral (select max(attempt_number) as attempt_number, max(asked_at_us) as asked_at_us from replays
    where application_id = d.application_id and event_id = d.event_id and delivery_id = d.delivery_id) r on true
left join lateral (select reason, died_at_us, exists (select from redrives where dead_id = dead_letters.dead_id)
    as is_redriven from dead_letters where application_id = d.application_id and event_id = d.event_id
    and delivery_id = d.delivery_id order by died_at_us desc limit 1) l on true
left join subscriptions s on s.subscription_id = d.subscription_id
left join endpoint_states e on e.subscription_id = d.subscription_id
cross join lateral (select coalesce(r.attempt_number > coalesce(a.attempt_number, 1), false) as is_asked,
    case when coalesce(r.attempt_number > coalesce(a.attempt_number, 1), false) then r.asked_at_us
        else coalesce(a.next_due_at_us, d.matched_at_us) end as due_at_us,
    greatest(d.appended_at_us, r.asked_at_us) as owed_from_us) o
cross join lateral (select (extract(epoch from s.cancelled_before) * 1000000)::bigint as cancelled_before_us) c
cross join lateral (select case
    when not o.is_asked and a.outcome = 'succeeded' then 'delivered'
    when not o.is_asked and a.outcome = 'cancelled' then 'cancelled'
    when not o.is_asked and l.reason is not null and not l.is_redriven
        and (a.outcome is null or a.next_due_at_us is null) then 'dead'
    when not o.is_asked and a.outcome = 'failed' and a.next_due_at_us is null and l.reason is null then 'dead'
    when o.owed_from_us < c.cancelled_before_us then 'cancelled'
    when e.opened_until_us > %(now_us)s then 'parked'
    when s.held_until > now() then 'parked'
    else 'waiting' end as state) j
""")
CHOSEN = SQL(
    "select * from ({judged}) chosen {states} order by created_at_us {way}, first_attempt_id {way} limit {page}"
)

END_OF_SCAN = SQL(
    "select matched_at_us as created_at_us, first_attempt_id::text as attempt_id from deliveries d where {where} "
    "order by matched_at_us {way}, first_attempt_id {way} limit 1 offset {offset}"
)


async def list_deliveries(pool: Pool, wanted: ListFilter, *, states: Sequence[str] = (), now_us: int) -> DeliveryPage:
    """A page of at most 50. `states`: one of these; empty: any."""
    is_backward = wanted.after is not None and wanted.after.is_backward
    values = list_values(wanted) | {"now_us": now_us} | ({"states": list(states)} if states else {})
    # only the filters that are set take part in the plan
    texts = _compose(frozenset(values), is_backward=is_backward)
    found, end = await read_scan(
        lambda: pool.fetch(texts.page, values, class_row(ArchivedDelivery)),
        (lambda: find_end_of_scan(pool, texts, values)) if states else None,
        page_max=PAGE_MAX,
        is_backward=is_backward,
    )
    first, last = (_point_at(found[0]), _point_at(found[-1])) if found else (None, None)
    end = last if len(found) == PAGE_MAX else end
    before, after = find_neighbours(first, last, after=wanted.after, end=end)
    return DeliveryPage(deliveries=found[::-1] if is_backward else found, before=before, after=after)


async def find_delivery(pool: Pool, application_id: str, delivery_id: str, *, now_us: int) -> ArchivedDelivery | None:
    """One delivery, or None. Its first attempt's id follows from its own, which an index has."""
    values = {
        "application_id": application_id,
        "attempt_id": derive_attempt_id(delivery_id, 1),
        "now_us": now_us,
    }
    found = await pool.fetch(ONE_DELIVERY, values, class_row(ArchivedDelivery))
    return found[0] if found else None


ONE_DELIVERY = JUDGED.format(
    scanned=SCANNED.format(
        where=SQL("d.application_id = %(application_id)s and d.first_attempt_id = %(attempt_id)s"),
        way=SQL("desc"),
        limit=SQL("1"),
    )
).as_bytes(None)
CONDITIONS = {
    "application_id": SQL("d.application_id = %(application_id)s"),
    "event_id": SQL("d.event_id = %(event_id)s"),
    "subscription_id": SQL("d.subscription_id = %(subscription_id)s"),
    "event_types": SQL("d.event_type = any(%(event_types)s)"),
    "created_min_us": SQL("d.matched_at_us >= %(created_min_us)s"),
    "created_max_us": SQL("d.matched_at_us <= %(created_max_us)s"),
}
OLDER = SQL("(d.matched_at_us, d.first_attempt_id) < (%(after_us)s, %(after_id)s::uuid)")
NEWER = SQL("(d.matched_at_us, d.first_attempt_id) > (%(after_us)s, %(after_id)s::uuid)")


@cache  # as many as there are sets of filters
def _compose(given: frozenset[str], *, is_backward: bool) -> ScanTexts:
    conditions = [condition for name, condition in CONDITIONS.items() if name in given]
    if "after_us" in given:
        conditions.append(NEWER if is_backward else OLDER)
    where, way = SQL(" and ").join(conditions), SQL("asc" if is_backward else "desc")
    # no parameters: a plan for all values would expect any number of rows
    limit = Number(SCANNED_MAX if "states" in given else PAGE_MAX)
    page = CHOSEN.format(
        judged=JUDGED.format(scanned=SCANNED.format(where=where, way=way, limit=limit)),
        states=SQL("where state = any(%(states)s)") if "states" in given else SQL(""),
        way=way,
        page=Number(PAGE_MAX),
    )
    end_of_scan = END_OF_SCAN.format(where=where, way=way, offset=Number(SCANNED_MAX - 1))
    return ScanTexts(page=page.as_bytes(None), end_of_scan=end_of_scan.as_bytes(None))


def _point_at(delivery: ArchivedDelivery) -> Cursor:
    return Cursor(created_at_us=delivery.created_at_us, attempt_id=delivery.first_attempt_id)
