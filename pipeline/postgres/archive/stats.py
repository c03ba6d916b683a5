"""How attempts went over a time: minutes added up to steps. How minutes are counted lives in `minutes`."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row
from psycopg.sql import SQL, Literal

from pipeline.core.latency import LATENCY_BUCKETS
from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsFilter:
    """Minutes since the epoch, `last` not included. `subscription_id`: None for all of the application's."""

    application_id: str
    subscription_id: str | None
    first_minute: int
    last_minute: int
    step_minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Attempts of one step with one result. `error_class`: '' for none; `status_class`: 2 for 2xx, 0 for no answer.

    `latency`: of those that were made, by bucket (`pipeline.core.latency`).
    """

    minute: int
    outcome: str
    error_class: str
    status_class: int
    attempts: int
    took_us: int
    latency: Sequence[int]


async def read_stats(pool: Pool, wanted: StatsFilter) -> list[Counted]:
    """Read steps in the order of time; those without attempts are left out. A step begins at a multiple of itself."""
    own = SQL("and subscription_id = %(subscription_id)s") if wanted.subscription_id is not None else SQL("")
    sums = SQL(", ").join(SQL("sum(latency[{}])::bigint").format(Literal(each + 1)) for each in range(LATENCY_BUCKETS))
    query = SQL(
        "select minute / %(step)s * %(step)s as minute, outcome, error_class, status_class, "
        "sum(attempts)::bigint as attempts, sum(took_us)::bigint as took_us, array[{sums}] as latency "
        "from attempt_minutes where application_id = %(application_id)s {own} "
        "and minute >= %(first)s and minute < %(last)s group by 1, 2, 3, 4 order by 1, 2, 3, 4"
    ).format(sums=sums, own=own)
    values = {
        "application_id": wanted.application_id,
        "subscription_id": wanted.subscription_id,
        "first": wanted.first_minute,
        "last": wanted.last_minute,
        "step": wanted.step_minutes,
    }
    return await pool.fetch(query.as_bytes(None), values, class_row(Counted))
