"""Attempts counted by minute, subscription and outcome, in the transaction that writes their rows.

Only new rows are added to a minute, so that a repeat in the log is counted once, like its row.
"""

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composable, Composed, Literal

from pipeline.core.latency import LATENCY_BOUNDS_MS, LATENCY_BUCKETS
from pipeline.postgres.archive.connection import Connection

COUNTED = SQL("application_id, subscription_id, outcome, error_class, response_status, started_at_us, finished_at_us")
KEY = SQL("application_id, subscription_id, minute, outcome, error_class, status_class")
# what any clock may have written fits: a row of the archive is never refused for the sake of its count
TOOK_MAX_US = 86_400_000_000
ERROR_CLASS_MAX_CHARS = 50
COUNTS = SQL("""
made as materialized (
    select application_id, subscription_id, finished_at_us / 60000000 as minute, outcome,
        left(coalesce(error_class, ''), {error_max}) as error_class,
        coalesce(response_status / 100, 0) as status_class,
        took.us as took_us, width_bucket(took.us, {bounds}::float8[]) as bucket
    from {source} cross join lateral (
        select case when outcome <> 'cancelled'
            then least(greatest(finished_at_us::float8 - started_at_us::float8, 0), {took_max}) end as us
    ) took
),
counted as (
    insert into attempt_minutes as m ({key}, attempts, took_us, latency)
    select {key}, count(*), coalesce(sum(took_us), 0)::bigint, array[{filtered}]
    from made group by {key} order by {key}
    on conflict ({key}) do update set
        attempts = m.attempts + excluded.attempts,
        took_us = m.took_us + excluded.took_us,
        latency = array[{summed}]
)
""")


async def add_attempts(cursor: AsyncCursor[TupleRow], insert: Composed) -> int:
    """Execute `insert` into the attempts, and add the new rows to their minutes; how many are new."""
    statement = SQL("with added as ({insert} returning {counted}), {counts} select count(*) from added")
    await cursor.execute(statement.format(insert=insert, counted=COUNTED, counts=_count(SQL("added"))))
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


async def count_again(connection: Connection) -> None:
    """Count all minutes again from the archive's attempts. Call it while no process writes."""
    await connection.execute("truncate attempt_minutes")
    await connection.execute(SQL("with {counts} select").format(counts=_count(SQL("attempts"))))


async def forget_minutes(connection: Connection, *, first_minute: int) -> None:
    """Delete the minutes before this one, counted from the epoch."""
    await connection.execute("delete from attempt_minutes where minute < %s", (first_minute,))


def _count(source: Composable) -> Composed:
    """Two members of a `with`. In the order of the key, so that two writers never wait for each other in a circle."""
    buckets = range(LATENCY_BUCKETS)
    return COUNTS.format(
        source=source,
        key=KEY,
        error_max=Literal(ERROR_CLASS_MAX_CHARS),
        took_max=Literal(TOOK_MAX_US),
        bounds=Literal([float(bound * 1000) for bound in LATENCY_BOUNDS_MS]),
        filtered=SQL(", ").join(SQL("count(*) filter (where bucket = {})").format(Literal(each)) for each in buckets),
        summed=SQL(", ").join(
            SQL("m.latency[{0}] + excluded.latency[{0}]").format(Literal(each + 1)) for each in buckets
        ),
    )
