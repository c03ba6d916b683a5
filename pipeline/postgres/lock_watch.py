"""Whether statements of a pool wait for a lock that another session holds: PostgreSQL answers all others meanwhile."""

import asyncio
from typing import LiteralString

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from pipeline.postgres.pool import Pool

# Changes of ours wait for each other for milliseconds; a statement is given up after `statement_timeout_s`.
LATE_S = 8.0
# Who waits next has not waited for long when the one before is given up.
STILL_S = 1.0
ANSWER_TIMEOUT_S = 2.0
# `application_name` is shown of the sessions of any role, the rest of the caller's own.
WAITING: LiteralString = (
    "select extract(epoch from clock_timestamp() - w.query_start)::int, b.pid, b.application_name "
    "from pg_stat_activity w left join pg_stat_activity b on b.pid = (pg_blocking_pids(w.pid))[1] "
    "where w.datname = current_database() and w.wait_event_type = 'Lock' and w.application_name like %s "
    "and w.query_start < clock_timestamp() - %s * interval '1 s' order by w.query_start limit 1"
)

log = structlog.get_logger()


class LockWatch:
    """Looks at the sessions of one pool, and of those whose names begin as its name does."""

    def __init__(self, pool: Pool, *, name: str) -> None:
        self._pool = pool
        self._name = name
        self._problem: str | None = None

    def check(self) -> str | None:
        """Health: None, or the problem."""
        return self._problem

    async def look(self, *, is_crowded: bool) -> None:
        """Ask; while nothing answers, what was said before stays. `is_crowded`: all sessions of the pool are in use."""
        another = self._pool.open_another() if is_crowded else self._pool.connection(timeout=ANSWER_TIMEOUT_S)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S), another as session:
                late_s = LATE_S if self._problem is None else STILL_S
                row = await (await session.execute(WAITING, (f"hookline-{self._name}%", late_s))).fetchone()
        except (psycopg.Error, PoolTimeout, TimeoutError):
            return
        was_well, self._problem = self._problem is None, None
        if row is not None:
            waited_s, pid, application = row
            self._problem = (
                f"PostgreSQL ({self._name}): a statement has waited for {waited_s} s for a lock that session {pid} "
                f"({application or 'without a name'}) holds. What needs it gets 503"
            )
        if was_well and self._problem is not None:
            log.error("database_locked", pool=self._name, reason=self._problem)
        elif not was_well and self._problem is None:
            log.info("database_unlocked", pool=self._name)
