"""How a subscription's newest deliveries went: a bounded number of them, whatever the archive has."""

from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.sql import SQL

from pipeline.postgres.archive.deliveries import JUDGED, SCANNED
from pipeline.postgres.pool import Pool

RECENT_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Figures of at most `RECENT_MAX` deliveries. `waiting`: those that are waiting or parked."""

    deliveries: int
    waiting: int
    next_attempt_at_us: int | None
    attempts: int
    succeeded: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


SUMMARY = SQL("""
with recent as materialized ({scanned}), judged as ({judged}),
made as (
    select a.outcome, (a.finished_at_us - a.started_at_us) / 1000.0 as took_ms from recent r join attempts a
    on a.day = r.day and a.application_id = r.application_id and a.event_id = r.event_id
    and a.delivery_id = r.delivery_id where a.outcome <> 'cancelled'
)
select (select count(*) from judged) as deliveries,
    (select count(*) from judged where state in ('waiting', 'parked')) as waiting,
    (select min(next_attempt_at_us) from judged) as next_attempt_at_us,
    count(*) as attempts, count(*) filter (where outcome = 'succeeded') as succeeded,
    percentile_disc(0.5) within group (order by took_ms)::float as p50_ms,
    percentile_disc(0.95) within group (order by took_ms)::float as p95_ms,
    percentile_disc(0.99) within group (order by took_ms)::float as p99_ms
from made
""")


async def summarise_recent(pool: Pool, application_id: str, subscription_id: str, *, now_us: int) -> Recent:
    """Figures of the subscription's newest deliveries."""
    scanned = SCANNED.format(
        where=SQL("d.application_id = %(application_id)s and d.subscription_id = %(subscription_id)s"),
        way=SQL("desc"),
        limit=SQL("%(recent_max)s"),
    )
    values = {
        "application_id": application_id,
        "subscription_id": subscription_id,
        "recent_max": RECENT_MAX,
        "now_us": now_us,
    }
    query = SUMMARY.format(scanned=scanned, judged=JUDGED.format(scanned=SQL("select * from recent")))
    (found,) = await pool.fetch(query.as_bytes(None), values, class_row(Recent))
    return found
