"""Whether PostgreSQL can be used, asked once a second: for health and metrics, and so that a pool finds it again."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors
from psycopg_pool import PoolTimeout

from pipeline.core.log.replay_lag import ReplayLag
from pipeline.metrics import Metrics
from pipeline.postgres.lock_watch import LockWatch
from pipeline.postgres.opening_watch import OpeningWatch
from pipeline.postgres.pool import Pool
from pipeline.postgres.pool_figures import PoolFigures
from pipeline.postgres.session import SilentServerError

INTERVAL_S = 1.0
ANSWER_TIMEOUT_S = 2.0
# One answer that does not come is a slow server, two in a row are an outage.
FAILURES_MIN = 2
AWAY_TIMEOUT_S = 1.0
SILENCE_MAX_S = 3 * ANSWER_TIMEOUT_S
ROOM_ROWS = 2000  # 25 pages
UNCONFIRMED = (
    "changes are not confirmed: its synchronous standbys (synchronous_standby_names) do not answer. Changes get 503; "
    "they are saved on the primary, and not on a standby"
)
# A commit takes milliseconds. Of sessions of other roles the server does not say what they wait for.
STATE: LiteralString = (
    "select pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', "
    "pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() "
    "else pg_current_wal_lsn() end, '0/0')::int8, "
    "exists (select from pg_stat_activity where datname = current_database() and wait_event = 'SyncRep' "
    "and query_start < clock_timestamp() - interval '3 s')"
)

log = structlog.get_logger()


class PoolWatch:
    """Watches one pool. `is_for_changes`: its sessions must be allowed to write; those that are not are replaced.

    `lag` is shared by the watches of a primary and its replicas: where the one is, and how far behind the others are.
    """

    def __init__(
        self,
        pool: Pool,
        metrics: Metrics,
        *,
        name: str,
        is_for_changes: bool,
        lag: ReplayLag | None = None,
        followers: Sequence[Pool] = (),
    ) -> None:
        """`followers`: other pools of the same server, as patient as the watched one."""
        self._pool = pool
        self._figures = PoolFigures(pool, metrics, name=name)
        self._lag = lag if lag is not None else ReplayLag()
        self._lag_gauge = None if is_for_changes else metrics.database_replica_lag_seconds.labels(name)
        self._patience_s = pool.timeout
        self._followers = followers
        self.lag_s = 0.0
        self._name = name
        self._is_for_changes = is_for_changes
        self._usable = metrics.database_usable.labels(name)
        self._problem: str | None = None
        self._failures = 0
        self._has_answered = False
        self._is_crowded = False  # sessions can be opened, and all of the pool are in use
        self._was_useless = False  # the last session asked could not write
        self._opening = OpeningWatch(pool, name=name)
        self._locks = LockWatch(pool, name=name)

    def check(self) -> str | None:
        """Health: None, or the problem."""
        return self._locks.check() or self._problem or self._opening.check()

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            self._note(await self._ask_in_time())
            if self._problem is None:
                await self._opening.look()
            if self._is_for_changes and (self._problem is None or self._is_crowded):
                await self._locks.look(is_crowded=self._is_crowded)
            self._figures.update()
            await asyncio.sleep(INTERVAL_S)

    async def _ask_in_time(self) -> str | None:
        """A server that stands still, or a pooler that waits for one, gives neither an answer nor an error."""
        try:
            async with asyncio.timeout(SILENCE_MAX_S):
                return await self._ask()
        except TimeoutError:
            return "it does not answer"

    async def _ask(self) -> str | None:
        self._is_crowded = False
        try:
            if self._is_for_changes and self._pool.lack is not None:
                try:
                    await self._look_for_room()
                except SilentServerError:
                    return UNCONFIRMED
            async with self._pool.connection(timeout=ANSWER_TIMEOUT_S) as connection:
                row = await (await connection.execute(STATE)).fetchone()
        except PoolTimeout as error:
            self._is_crowded = self._pool.refusal is None
            return self._pool.refusal or str(error)
        except psycopg.Error as error:
            return (str(error).strip() or type(error).__name__).partition("\n")[0]
        if row is None:
            return None
        if self._is_for_changes and row[3]:
            self._pool.lack = UNCONFIRMED
            return UNCONFIRMED
        self._note_place(is_replica=row[0], place=row[2])
        is_useless = self._is_for_changes and any(row[:2])
        if is_useless or self._was_useless:
            # The address may lead to another server by now; a session stays with the one it was opened to. Once more
            # when there is a better one: some that were being opened meanwhile have come after the drain before.
            for pool in (self._pool, *self._followers):
                await pool.drain()
        self._was_useless = is_useless
        if not is_useless:
            return None
        return "the server is in recovery" if row[0] else "sessions are read-only"

    async def _look_for_room(self) -> None:
        """Write a few pages where tables are, and undo it. Raises `psycopg.Error` while that is refused."""
        async with self._pool.connection(timeout=ANSWER_TIMEOUT_S) as connection:
            with contextlib.suppress(errors.InsufficientPrivilege):  # not to be found out then
                await connection.execute("set local temp_tablespaces = ''")
                await connection.execute(
                    "create temporary table hookline_room on commit drop as "
                    "select sha512(n::text::bytea) from generate_series(1, %s) as n",
                    (ROOM_ROWS,),
                )
            await connection.rollback()
            patience_s, connection.patience_s = connection.patience_s, ANSWER_TIMEOUT_S
            try:
                # a commit waits for standbys when it has written something
                await connection.execute("select pg_logical_emit_message(true, 'hookline', '')")
                await connection.commit()
            finally:
                connection.patience_s = patience_s
        self._pool.lack = None

    def _note_place(self, *, is_replica: bool, place: int | None) -> None:
        if self._lag_gauge is None:
            if not is_replica and place is not None:
                self._lag.note_primary(time.monotonic(), place)
            return
        # a server configured as a replica that is none cannot be behind
        self.lag_s = self._lag.measure(place) if is_replica and place is not None else 0.0
        self._lag_gauge.set(self.lag_s)

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
        # requests to a server that is away fail soon, and do not wait as for one that is busy
        self._pool.timeout = self._patience_s if self._problem is None else min(AWAY_TIMEOUT_S, self._patience_s)
        for follower in self._followers:
            follower.timeout = self._pool.timeout
        self._usable.set(1 if self._problem is None else 0)
