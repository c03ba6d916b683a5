"""Whether PostgreSQL opens new sessions. Those that are open work on when a password was changed, for half an hour."""

import asyncio
import time

import psycopg
import structlog

from pipeline.postgres.pool import Pool

INTERVAL_S = 10.0
OPEN_TIMEOUT_S = 2.0
# One that fails meets a restart, or a moment in which all connections were in use.
FAILURES_MIN = 2

log = structlog.get_logger()


class OpeningWatch:
    """Opens a session of a pool from time to time, and each time it is asked to while that fails."""

    def __init__(self, pool: Pool, *, name: str) -> None:
        self._pool = pool
        self._name = name
        self._looked_at_s = time.monotonic()
        self._failures = 0  # one after the other

    def check(self) -> str | None:
        """Health: None, or the problem."""
        if self._failures < FAILURES_MIN:
            return None
        return (
            f"PostgreSQL ({self._name}) opens no new sessions, and those that are open end within "
            f"HOOKLINE_DATABASE_POOL_LIFETIME_S: {self._pool.refusal or 'none is opened in time'}"
        )

    async def look(self) -> None:
        """Open one, if it is time to."""
        if self._pool.refusal is None and time.monotonic() - self._looked_at_s < INTERVAL_S:
            return
        self._looked_at_s = time.monotonic()
        was_well = self.check() is None
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._pool.open_one()
        except (psycopg.Error, TimeoutError):
            self._failures += 1
        else:
            self._failures = 0
        is_well = self.check() is None
        if was_well and not is_well:
            log.error("database_sessions_refused", pool=self._name, reason=self._pool.refusal)
        elif is_well and not was_well:
            log.info("database_sessions_opened", pool=self._name)
