"""Row counts of the archive and the server's counters: benchmarks compare them with the events sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedCounts:
    """Rows of some applications. `succeeded`: deliveries with an attempt that succeeded."""

    events: int
    dispatches: int
    deliveries: int
    succeeded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """Counters of the whole database. `rows_inserted`, `transactions`, `wal_bytes`: since some time in the past."""

    rows_inserted: int
    transactions: int
    wal_bytes: int
    size_bytes: int


async def count_archived(pool: Pool, application_ids: Sequence[str]) -> ArchivedCounts:
    """Count the archived rows of these applications."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select (select count(*) from events where application_id = any(%(ids)s)), "
            "(select count(*) from dispatches where application_id = any(%(ids)s)), "
            "(select count(*) from deliveries where application_id = any(%(ids)s)), "
            "(select count(distinct delivery_id) from attempts "
            "where application_id = any(%(ids)s) and outcome = 'succeeded')",
            {"ids": list(application_ids)},
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    return ArchivedCounts(events=row[0], dispatches=row[1], deliveries=row[2], succeeded=row[3])


async def read_server_figures(pool: Pool) -> ServerFigures:
    """Read the server's counters."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select tup_inserted, xact_commit, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, "
            "pg_database_size(datname) from pg_stat_database where datname = current_database()"
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - there is the database that we are in
    return ServerFigures(rows_inserted=row[0], transactions=row[1], wal_bytes=row[2], size_bytes=row[3])
