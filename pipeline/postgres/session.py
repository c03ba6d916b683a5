"""How a session with PostgreSQL is opened, and its settings: ours go before those of a role, a database or the server.

Those that change what a statement means are in all sessions; each caller gives the others, such as the time that a
statement may take. They are set by a statement once the session is open: a pooler in between (PgBouncer) refuses the
`options` of a connection, or drops them.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, ProgrammingError
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from pipeline.config import DatabaseConfig
from pipeline.start_error import StartError

MEANING: Mapping[str, object] = {
    # any text of an event or a name can be written and read
    "client_encoding": "UTF8",
    # the only forms of times that psycopg reads; days are those of UTC
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    # floats as they are, and values in statements as they are written
    "extra_float_digits": 1,
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    # A change waits for one before it and goes on with what that one left. At a higher level it fails instead.
    "default_transaction_isolation": "read committed",
}
# How long a session may wait and be idle is known here. With a `transaction_timeout`, or an `idle_session_timeout`, of
# milliseconds that a role has, changes failed one after the other.
TIMES: Mapping[str, object] = {
    # the pool closes those that it does not need
    "idle_session_timeout": 0,
    # statements are bounded, transactions are as long as theirs are; PostgreSQL 16 does not have it
    "transaction_timeout": 0,
    # a statement's own time bounds this as well
    "lock_timeout": 0,
    # Far longer than any work of ours. What a process that is frozen for good has locked becomes free.
    "idle_in_transaction_session_timeout": 300_000,
}
# The kernel finds a server that vanished without closing its connections in about ten seconds.
SILENCE_OPTIONS: Mapping[str, int] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
CONNECT_TIMEOUT_MIN_S = 2  # libpq's own minimum


# One trip. Some settings are not there in each version of the server (`transaction_timeout`). What waits for standbys
# too is more than `is_durable` asks for. Without triggers changes would have no entry in the audit log; a role that is
# no superuser needs a right to set them going again.
PREPARE: LiteralString = (
    "select set_config(name, value, false) from unnest(%(names)s::text[], %(values)s::text[]) as given (name, value) "
    "where current_setting(name, true) is not null "
    "union all select set_config('synchronous_commit', 'on', false) "
    "where %(is_durable)s and current_setting('synchronous_commit') = 'off' "
    "union all select set_config('session_replication_role', 'origin', false) "
    "where has_parameter_privilege('session_replication_role', 'SET')"
)
POLL_S = 0.1  # psycopg's own
ValueT = TypeVar("ValueT")


class SilentServerError(psycopg.OperationalError):
    """The server did not answer in time. Whether a change was made is not known."""


class OutOfStepError(psycopg.OperationalError):
    """The session gave an answer to what was not asked, and is closed: the next one would be taken for another's."""


class CheckedConnection(AsyncConnection[TupleRow]):
    """A connection whose server may be a pooler.

    PgBouncer hands on what the server says at the end of a session that is idle, and says something itself: psycopg
    finds two answers to the next statement, which for it is a mistake of ours, and not a session that has ended.
    """

    async def wait(self, gen: PQGen[ValueT], interval: float = POLL_S, timeout: float | None = None) -> ValueT:  # noqa: ASYNC109 - the parent's signature
        """See the parent's method. Raises `OutOfStepError`."""
        try:
            return await super().wait(gen, interval, timeout)
        except psycopg.InternalError as error:
            if error.sqlstate is not None:  # the server's own
                raise
            self.pgconn.finish()
            raise OutOfStepError(str(error)) from error


class Session(CheckedConnection):
    """A session whose server may be silent for `patience_s` at most.

    The server bounds statements itself. It does not bound a commit, which waits for synchronous standbys for as long as
    they are away, nor does a pooler bound what waits for one of its connections.
    """

    patience_s: float | None = None

    async def wait(self, gen: PQGen[ValueT], interval: float = POLL_S, timeout: float | None = None) -> ValueT:  # noqa: ASYNC109 - the parent's signature
        """See the parent's method. Raises `SilentServerError`; the statement is cancelled."""
        if self.patience_s is None:
            return await super().wait(gen, interval, timeout)
        try:
            async with asyncio.timeout(self.patience_s):
                return await super().wait(gen, interval, timeout)
        except TimeoutError:
            raise SilentServerError(f"no answer within {self.patience_s:g} s") from None


def describe_connection(config: DatabaseConfig, url: str, *, name: str) -> dict[str, Any]:
    """The keywords of psycopg's `connect` beside the URL. `name` is shown in pg_stat_activity. Raises `StartError`."""
    read_url(url)  # before psycopg, whose error would repeat it
    return {
        "application_name": f"hookline-{name}",
        "connect_timeout": max(CONNECT_TIMEOUT_MIN_S, round(config.connect_timeout_s)),
        **SILENCE_OPTIONS,
    }


def describe_session(url: str, settings: Mapping[str, object]) -> str:
    """The `options` of a connection: those of the URL, ours, and `settings`."""
    given = str(read_url(url).get("options") or "")
    ours = " ".join(f"-c {name}={_escape(str(value))}" for name, value in choose_settings(settings).items())
    return f"{given} {ours}".lstrip()


def choose_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings of every session, and `settings`."""
    return {**MEANING, **TIMES, **settings}


def read_url(url: str) -> dict[str, Any]:
    """The parts of a libpq URL. Raises `StartError`, which does not repeat it: a password may be in it."""
    try:
        return dict(conninfo_to_dict(url))
    except ProgrammingError:
        raise StartError(
            "HOOKLINE_DATABASE_WRITE_URL, or one of HOOKLINE_DATABASE_READ_URLS, is no libpq URL; it looks like "
            "postgresql://user:password@host:5432/database, with / and @ in a password as %2F and %40"
        ) from None


async def prepare(connection: AsyncConnection[TupleRow], settings: Mapping[str, object], *, is_durable: bool) -> None:
    """Give a new session its settings. Raises `psycopg.Error`.

    `is_durable`: a change outlasts a crash of the server once it is answered, whatever `synchronous_commit` its role
    has: a revoked secret would be valid again.
    """
    await connection.execute(PREPARE, list_values(settings, is_durable=is_durable))
    if not connection.autocommit:
        await connection.commit()


def list_values(settings: Mapping[str, object], *, is_durable: bool) -> dict[str, object]:
    """The values of `PREPARE`."""
    given = choose_settings(settings)
    return {"names": list(given), "values": [str(each) for each in given.values()], "is_durable": is_durable}


def _escape(value: str) -> str:
    """Spaces separate options."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
