"""Whether PostgreSQL can be used, asked once a second: for health and metrics, and so that a pool finds it again."""

import asyncio

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from pipeline.metrics import Metrics
from pipeline.postgres.pool import Pool

INTERVAL_S = 1.0
ANSWER_TIMEOUT_S = 2.0
# One answer that does not come is a slow server, two in a row are an outage.
FAILURES_MIN = 2

log = structlog.get_logger()


class PoolWatch:
    """Watches one pool. `is_for_changes`: its sessions must be allowed to write; those that are not are replaced."""

    def __init__(self, pool: Pool, metrics: Metrics, *, name: str, is_for_changes: bool) -> None:
        self._pool = pool
        self._name = name
        self._is_for_changes = is_for_changes
        self._usable = metrics.database_usable.labels(name)
        self._problem: str | None = None
        self._failures = 0
        self._has_answered = False

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        return self._problem

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            self._note(await self._ask())
            await asyncio.sleep(INTERVAL_S)

    async def _ask(self) -> str | None:
        try:
            async with self._pool.connection(timeout=ANSWER_TIMEOUT_S) as connection:
                cursor = await connection.execute(
                    "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
                )
                row = await cursor.fetchone()
        except (psycopg.Error, PoolTimeout) as error:
            return (str(error).strip() or type(error).__name__).partition("\n")[0]
        if row is None or not self._is_for_changes or not any(row):
            return None
        # The address may lead to another server by now; a session stays with the one it was opened to.
        await self._pool.drain()
        return "the server is in recovery" if row[0] else "sessions are read-only"

    def _note(self, problem: str | None) -> None:
        self._failures = self._failures + 1 if problem is not None else 0
        was_usable = self._problem is None
        if problem is None:
            self._problem = None
            self._has_answered = True
            if not was_usable:
                log.info("database_usable", pool=self._name)
        elif not was_usable or self._failures >= FAILURES_MIN or not self._has_answered:
            self._problem = f"PostgreSQL ({self._name}) cannot be used: {problem}"
            if was_usable:
                log.error("database_unusable", pool=self._name, reason=problem)
        self._usable.set(1 if self._problem is None else 0)
