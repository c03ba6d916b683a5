"""PostgreSQL's own statistics: slow statements, waiting sessions, large tables, unused indexes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

Row = dict[str, Any]

STATEMENTS: LiteralString = """
select left(regexp_replace(query, '\\s+', ' ', 'g'), 160) as statement, calls,
    round(total_exec_time::numeric / 1000, 1)::float as total_s, round(mean_exec_time::numeric, 2)::float as mean_ms,
    round(max_exec_time::numeric, 1)::float as max_ms, rows,
    round(100.0 * shared_blks_hit / nullif(shared_blks_hit + shared_blks_read, 0), 1)::float as cached_percent
from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
order by total_exec_time desc limit %(limit)s
"""
ACTIVITY: LiteralString = """
select coalesce(nullif(application_name, ''), '?') as session, coalesce(state, '?') as state, count(*) as sessions,
    count(*) filter (where wait_event_type = 'Lock') as wait_for_a_lock,
    round(extract(epoch from max(clock_timestamp() - xact_start))::numeric, 1)::float as longest_transaction_s,
    round(extract(epoch from max(clock_timestamp() - query_start) filter (where state = 'active'))::numeric, 1)::float
        as longest_statement_s
from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
group by 1, 2 order by 1, 2
"""
SIZES: LiteralString = """
select c.relname as partition, coalesce(p.relname, '') as of, greatest(c.reltuples, 0)::bigint as rows,
    pg_table_size(c.oid) as table_bytes, pg_indexes_size(c.oid) as index_bytes
from pg_class c left join pg_class p on p.oid = pg_partition_root(c.oid)
where c.relkind = 'r' and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())
order by pg_total_relation_size(c.oid) desc, c.relname limit %(limit)s
"""
DEAD_ROWS: LiteralString = """
select relname as table, n_live_tup as live_rows, n_dead_tup as dead_rows,
    round(100.0 * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0), 1)::float as dead_percent,
    to_char(greatest(last_autovacuum, last_vacuum) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as vacuumed_at,
    to_char(greatest(last_autoanalyze, last_analyze) at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as analyzed_at
from pg_stat_user_tables where n_dead_tup > 0 order by n_dead_tup desc limit %(limit)s
"""
UNUSED_INDEXES: LiteralString = """
select coalesce(p.relname, s.indexrelname) as index, count(*) as partitions, sum(s.idx_scan)::bigint as scans,
    sum(pg_relation_size(s.indexrelid))::bigint as bytes
from pg_stat_user_indexes s join pg_index x on x.indexrelid = s.indexrelid
left join pg_class p on p.oid = pg_partition_root(s.indexrelid)
where not x.indisunique and not exists (select from pg_constraint c where c.conindid = s.indexrelid)
group by 1 having sum(s.idx_scan) = 0 order by bytes desc, 1 limit %(limit)s
"""
SERVER: LiteralString = """
select version() as version, pg_database_size(current_database()) as database_bytes,
    round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 1)::float as cached_percent, deadlocks, temp_bytes,
    (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
    current_setting('max_connections')::int as connections_max,
    age((select datfrozenxid from pg_database where datname = current_database())) as oldest_transaction_age,
    current_setting('autovacuum_freeze_max_age')::int as autovacuum_freeze_max_age,
    current_setting('autovacuum') as autovacuum,
    current_setting('log_min_duration_statement') as slow_statements_logged,
    to_char(stats_reset at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as counted_since
from pg_stat_database where datname = current_database()
"""
SECTIONS: Mapping[str, LiteralString] = {
    "activity": ACTIVITY,
    "sizes": SIZES,
    "dead_rows": DEAD_ROWS,
    "unused_indexes": UNUSED_INDEXES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """`statements`: None when pg_stat_statements is not there. `sections`: rows by the names of `SECTIONS`."""

    server: Row
    statements: list[Row] | None
    sections: Mapping[str, list[Row]]


async def read_report(connection: AsyncConnection[TupleRow], *, limit: int) -> ServerReport:
    """Read at most `limit` rows a section. Changes nothing."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SERVER)
        (server,) = await cursor.fetchall()
        await cursor.execute(
            "select exists (select from pg_extension where extname = 'pg_stat_statements') "
            "and 'pg_stat_statements' = any(string_to_array(replace(current_setting("
            "'shared_preload_libraries', true), ' ', ''), ',')) as there"
        )
        (found,) = await cursor.fetchall()
        statements = None
        if found["there"]:
            await cursor.execute(STATEMENTS, {"limit": limit})
            statements = await cursor.fetchall()
        sections = {}
        for name, query in SECTIONS.items():
            await cursor.execute(query, {"limit": limit})
            sections[name] = await cursor.fetchall()
    return ServerReport(server=server, statements=statements, sections=sections)
