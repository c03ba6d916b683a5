"""How a session with PostgreSQL is opened, and its settings: ours go before those of a role, a database or the server.

Those that change what a statement means are in all sessions; each caller gives the others, such as the time that a
statement may take.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection, ProgrammingError
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


def describe_connection(
    config: DatabaseConfig, url: str, *, name: str, settings: Mapping[str, object]
) -> dict[str, Any]:
    """The keywords of psycopg's `connect` beside the URL. `name` is shown in pg_stat_activity."""
    return {
        "application_name": f"hookline-{name}",
        "connect_timeout": max(CONNECT_TIMEOUT_MIN_S, round(config.connect_timeout_s)),
        "options": describe_session(url, settings),
        **SILENCE_OPTIONS,
    }


def describe_session(url: str, settings: Mapping[str, object]) -> str:
    """The `options` of a connection: those of the URL, ours, and `settings`."""
    given = str(read_url(url).get("options") or "")
    ours = " ".join(f"-c {name}={_escape(str(value))}" for name, value in {**MEANING, **TIMES, **settings}.items())
    return f"{given} {ours}".lstrip()


def read_url(url: str) -> dict[str, Any]:
    """The parts of a libpq URL. Raises `StartError`, which does not repeat it: a password may be in it."""
    try:
        return dict(conninfo_to_dict(url))
    except ProgrammingError:
        raise StartError(
            "HOOKLINE_DATABASE_WRITE_URL, or one of HOOKLINE_DATABASE_READ_URLS, is no libpq URL; it looks like "
            "postgresql://user:password@host:5432/database, with / and @ in a password as %2F and %40"
        ) from None


async def prepare(connection: AsyncConnection[TupleRow]) -> None:
    """Prepare a new session of a pool. Raises `psycopg.Error`."""
    await lift_transaction_timeout(connection)
    await require_durability(connection)
    if not connection.autocommit:
        await connection.commit()


async def lift_transaction_timeout(connection: AsyncConnection[TupleRow]) -> None:
    """Let transactions take as long as their statements. Not among `TIMES`: PostgreSQL 16 does not have it."""
    await connection.execute(
        "select set_config('transaction_timeout', '0', false) where current_setting('transaction_timeout', true) <> '0'"
    )


async def require_durability(connection: AsyncConnection[TupleRow]) -> None:
    """Let a change outlast a crash of the server once it is answered: a revoked secret would be valid again.

    Only where it is off: what waits for standbys too is more than we ask for.
    """
    await connection.execute(
        "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"
    )


def _escape(value: str) -> str:
    """Spaces separate options."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
