"""Connections to PostgreSQL, pooled; which errors mean that it is away; and when a session is replaced.

How soon a pool works again after its server does is decided here: psycopg_pool by itself doubles the wait between two
attempts for five minutes, and keeps a session for as long as it answers anything, be it that it refuses to write.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import AsyncRowFactory
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.postgres.control.acting import ACTOR
from pipeline.postgres.places import Places
from pipeline.postgres.session import Session, SilentServerError, describe_connection, prepare, read_url
from pipeline.start_error import StartError
from pipeline.tenant import TENANT

# psycopg_pool doubles the wait between attempts until this is over, then waits for the next request. `PoolWatch` asks
# once a second, so that a server that is back is found within about two seconds, however long it was away.
RECONNECT_TIMEOUT_S = 1.5

# A session that answered so is of no use any more: closed by the server, or to one that does not take changes.
SessionUseless = (
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleSessionTimeout,
)
# The server answers and cannot do it: a full disk, no memory; an error of a disk. By class of SQLSTATE.
LACKS = ("53", "58")
# The server ends a statement itself when its time is over, unless it cannot: until then it is waited for.
ANSWER_SLACK_S = 2.0
RowT = TypeVar("RowT")
# PostgreSQL cannot be asked at this time; later it may.
DatabaseUnavailable = (psycopg.OperationalError, PoolTimeout, *SessionUseless)
# PostgreSQL can be asked, and does not do it: a table, a column or a right is missing, an index is damaged.
DatabaseRefused = (psycopg.ProgrammingError, psycopg.InternalError, psycopg.NotSupportedError)
# It does so for others, and not for this row: a constraint of the operator's, or a value that no column takes.
RowRefused = (psycopg.IntegrityError, psycopg.DataError)
DatabaseFailed = (*DatabaseUnavailable, *DatabaseRefused)
# What is not there, or not allowed, until an operator has put it right; a statement of ours that is wrong is another
# matter.
DatabaseNotReady = (
    errors.InsufficientPrivilege,
    errors.InvalidSchemaName,
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidColumnReference,  # no unique index on what `on conflict` names: a primary key was taken away
    errors.InternalError_,
    errors.DataCorrupted,
    errors.IndexCorrupted,
)


class DatabaseAwayError(StartError):
    """The server does not answer at all; one that refuses us, or lacks something, is a `StartError` of another kind."""


class Pool(AsyncConnectionPool[Session]):
    """A pool that replaces its sessions when one of them turns out to be useless: the others are of the same kind.

    Tenants take turns at its connections.
    """

    def __init__(self, conninfo: str, *, max_size: int, **options: Any) -> None:
        super().__init__(conninfo, connection_class=Session, max_size=max_size, **options)
        self._places = Places(max_size)
        # What the server lacked for a change. It answers questions all the while: `PoolWatch` finds out when that ends.
        self.lack: str | None = None
        # Why the last attempt to open a session failed. Those that are open may work for long.
        self.refusal: str | None = None

    async def open_one(self) -> None:
        """Open a session, as for a request that finds none, and close it. Raises `psycopg.Error`."""
        async with self.open_another():
            pass

    @asynccontextmanager
    async def open_another(self) -> AsyncIterator[Session]:
        """A session beyond those of the pool, for questions while all of these are in use. Raises `psycopg.Error`."""
        session = await self._connect()
        try:
            yield session
        finally:
            await session.close()

    async def _connect(self, timeout: float | None = None) -> Session:  # noqa: ASYNC109 - the parent's signature
        try:
            session = await super()._connect(timeout)
        except psycopg.Error as error:
            self.refusal = " ".join(str(error).split())
            raise
        self.refusal = None
        return session

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - the parent's signature
    ) -> AsyncIterator[Session]:
        """See the parent's method."""
        async with self._hold_place(timeout) as left_s, self._lend(left_s) as connection:
            yield connection

    @asynccontextmanager
    async def _hold_place(self, timeout_s: float | None) -> AsyncIterator[float]:
        """A place, and the time that is left to wait for a connection."""
        timeout_s = self.timeout if timeout_s is None else timeout_s
        until_s = time.monotonic() + timeout_s
        async with contextlib.AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._places.hold(TENANT.get(), timeout_s))
            except TimeoutError:
                raise _describe_timeout(timeout_s) from None
            yield max(0.0, until_s - time.monotonic())

    def pop_stats(self) -> dict[str, int]:
        """See the parent's method; with those that wait, or waited, for a place."""
        counted, places = super().pop_stats(), self._places
        counted["requests_waiting"] = counted.get("requests_waiting", 0) + len(places)
        for name, more in (
            ("requests_num", places.failed),
            ("requests_queued", places.waited),
            ("requests_errors", places.failed),
            ("requests_wait_ms", round(places.waited_s * 1000)),
        ):
            counted[name] = counted.get(name, 0) + more
        places.waited = places.failed = 0
        places.waited_s = 0.0
        return counted

    @asynccontextmanager
    async def _lend(self, timeout_s: float) -> AsyncIterator[Session]:
        is_useless = False
        try:
            async with super().connection(timeout_s) as connection:
                try:
                    actor = ACTOR.get()
                    if actor is not None and not connection.autocommit:
                        # until the transaction ends, which this begins
                        await connection.execute("select set_config('hookline.actor', %s, true)", (actor,))
                    yield connection
                except BaseException as error:
                    is_useless = isinstance(error, SessionUseless) or connection.broken
                    raise
        except SilentServerError as error:
            self.lack = str(error)
            raise
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith(LACKS):
                self.lack = str(error).strip().partition("\n")[0]
            raise
        finally:
            if is_useless:
                await asyncio.shield(self.drain())

    async def fetch(
        self, query: bytes, values: Sequence[object] | Mapping[str, object], make_rows: AsyncRowFactory[RowT]
    ) -> list[RowT]:
        """The rows of one statement, prepared. On a bare pool one trip, repeated once when its session was broken.

        Give the same `query` again for the same statement: making its text takes longer than executing it.
        """
        if not self.is_bare:
            async with self.connection() as connection, connection.cursor(row_factory=make_rows) as cursor:
                await cursor.execute(query, values, prepare=True)
                return await cursor.fetchall()
        found = await self._fetch_at_once(query, values, make_rows, is_last=False)
        return found if found is not None else await self._fetch_at_once(query, values, make_rows, is_last=True) or []

    @property
    def is_bare(self) -> bool:
        """See `open_pool`."""
        return bool(isinstance(self.kwargs, dict) and self.kwargs.get("autocommit"))

    async def _fetch_at_once(
        self,
        query: bytes,
        values: Sequence[object] | Mapping[str, object],
        make_rows: AsyncRowFactory[RowT],
        *,
        is_last: bool,
    ) -> list[RowT] | None:
        """Execute on one session. None: that session was broken, and another one may work."""
        until_s, tenant = time.monotonic() + self.timeout, TENANT.get()
        try:
            # No task has two of these: nothing else happens while a place is held. 1.2 µs; by `_hold_place` 6.6.
            await self._places.take(tenant, self.timeout)
        except TimeoutError:
            raise _describe_timeout(self.timeout) from None
        try:
            connection = await self.getconn(max(0.0, until_s - time.monotonic()))
            is_useless = False
            try:
                cursor = connection.cursor(row_factory=make_rows)
                await cursor.execute(query, values, prepare=True)
                return await cursor.fetchall()
            except BaseException as error:
                is_useless = isinstance(error, SessionUseless) or connection.broken
                if is_last or not is_useless or not isinstance(error, psycopg.Error):
                    raise
                return None
            finally:
                await self.putconn(connection)
                if is_useless:
                    await asyncio.shield(self.drain())
        finally:
            self._places.release(tenant)


def _describe_timeout(timeout_s: float) -> PoolTimeout:
    return PoolTimeout(f"couldn't get a connection after {timeout_s:.2f} sec")


async def check_connection(connection: Session) -> None:
    """Check a connection before it is handed out. When one died while it was idle, so did the others, most likely.

    Without this each of them would cost the request that meets it a wait that doubles.
    """
    try:
        await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        pool = connection._pool  # noqa: SLF001 - the pool that calls this
        if isinstance(pool, Pool):
            await pool.drain()
        raise


async def open_pool(
    config: DatabaseConfig,
    url: SecretStr,
    *,
    name: str,
    size_min: int = 1,
    size_max: int | None = None,
    is_bare: bool = False,
    is_needed: bool = True,
) -> Pool:
    """A pool of at most `size_max` connections (`pool_size` by default), of which `size_min` stay open.

    `name`: shown in pg_stat_activity. `is_bare`: no transaction around a statement, no check before, and one plan for
    all: one trip to the server instead of four, for callers that always execute the same statement and can repeat it.

    `is_needed`: raise `StartError` when the server cannot be reached or refuses us; else the pool connects later. A URL
    that is none raises it in any case.
    """
    text = url.get_secret_value()
    settings: dict[str, object] = {"statement_timeout": int(config.statement_timeout_s * 1000)}
    if is_bare:
        settings["plan_cache_mode"] = "force_generic_plan"
    options = describe_connection(config, text, name=name)

    async def configure(session: Session) -> None:
        try:
            session.patience_s = config.connect_timeout_s
            await prepare(session, settings, is_durable=True)
        except BaseException:
            await session.close()
            raise
        session.patience_s = config.statement_timeout_s + ANSWER_SLACK_S

    if is_needed:
        try:
            async with await Session.connect(text, **options) as session:
                await configure(session)
        except psycopg.OperationalError as error:
            raise describe_unreachable(text, error) from error
    # `PoolWatch` says once that a server is away; the pool would at every attempt
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    pool = Pool(
        text,
        min_size=min(size_min, size_max or config.pool_size),
        max_size=size_max or config.pool_size,
        timeout=config.pool_acquire_timeout_s,
        max_idle=config.pool_idle_s,
        max_lifetime=config.pool_lifetime_s,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        kwargs={"autocommit": is_bare, **options},
        configure=configure,
        # a connection that died while it was idle is noticed before it is used
        check=None if is_bare else check_connection,
        open=False,
    )
    await pool.open()
    return pool


# What a server that is there says to a mistake in the URL; anything else may pass.
REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "invalid ",
    "unsupported startup parameter",
)


def describe_unreachable(url: str, error: Exception) -> StartError:
    """One sentence for the operator, without the password. `DatabaseAwayError` when it may pass."""
    reason = " ".join(str(error).split())
    text = (
        f"cannot use PostgreSQL at {describe_place(url)}: {reason}. Is it running, and is HOOKLINE_DATABASE_WRITE_URL "
        "(address, user, password, database) right?"
    )
    is_refused = any(words in reason for words in REFUSALS)
    return StartError(text) if is_refused else DatabaseAwayError(text)


def describe_place(url: str) -> str:
    """Where a server and a database are, without user and password. Raises `StartError` for what is no URL."""
    info = read_url(url)
    return f"{info.get('host', 'local socket')}:{info.get('port', 5432)}, database {info.get('dbname', 'default')}"


def describe_failure(error: Exception) -> str:
    """The sentence of a command for one of `DatabaseFailed` in the middle of its work."""
    reason = " ".join(str(error).split())
    if isinstance(error, DatabaseRefused):
        return (
            f"PostgreSQL does not do it: {reason}. Is the database up to date (`hookline migrate`), and may the role "
            "of HOOKLINE_DATABASE_WRITE_URL do this?"
        )
    return f"PostgreSQL went away, or took too long: {reason}. What was done stays; run it again once it answers"
