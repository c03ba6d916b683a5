"""Sitting out an outage of PostgreSQL: nothing is lost, nothing grows, one log line at its start and one at its end.

An outage is also work that does not end: a commit waits for synchronous standbys for as long as they are away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from psycopg import OperationalError, errors

from pipeline.postgres.archive.refusals import PositionRefusedError, is_about_a_row
from pipeline.postgres.pool import DatabaseNotReady, SessionUseless

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0  # within 5 s of its return, connecting included, the archive goes on

# Failures that pass, if need be after a repair of the server: not reachable, restarting, disk full, out of connections,
# a lock or statement time-out, a deadlock; read-only; a session the server ended because this process, or the network,
# stood still in the middle of a transaction; a row routed to the default partition at the very moment when its day got
# a partition; a table or a right that an operator has taken away, a constraint of theirs that takes no position. A
# refusal of one row does not pass. Any other error is a mistake of ours, and ends the process.
PASSING = (OperationalError, *SessionUseless, errors.CheckViolation, *DatabaseNotReady, PositionRefusedError)
# A batch takes a second at most; one that waits for a lock is given up after `statement_timeout_s`.
LATE_S = 8.0

T = TypeVar("T")
log = structlog.get_logger()


class Outage:
    """Repeats work until PostgreSQL does it. One instance a process, so that its health check sees every outage."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._reason = ""
        self._asked_at_s: float | None = None  # when the work that is under way was begun

    def check(self) -> str | None:
        """Health: None, or what PostgreSQL said last."""
        if self._since_s is not None:
            return f"PostgreSQL does not work: {self._reason}"
        late_s = time.monotonic() - self._asked_at_s if self._asked_at_s is not None else 0.0
        if late_s <= LATE_S:
            return None
        return (
            f"PostgreSQL has not answered for {late_s:.0f} s: it waits for a lock, or a commit for synchronous "
            "standbys that are away (synchronous_standby_names)"
        )

    async def sit_out(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which must be safe to repeat, as often as it takes."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            self._asked_at_s = time.monotonic()
            try:
                result = await work()
            except PASSING as error:
                if is_about_a_row(error):
                    raise
                self._begin(error)
            else:
                self._end()
                return result
            finally:
                self._asked_at_s = None
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _begin(self, error: Exception) -> None:
        self._reason = str(error).strip().partition("\n")[0]
        if self._since_s is None:
            self._since_s = time.monotonic()
            log.warning("postgres_outage", reason=self._reason)

    def _end(self) -> None:
        if self._since_s is not None:
            log.info("postgres_recovered", after_s=round(time.monotonic() - self._since_s, 1))
            self._since_s = None
