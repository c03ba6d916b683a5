"""Whether a pooler gives a session another connection of the server for each transaction.

Hookline's sessions have settings, temporary tables, prepared statements and locks. Where a pooler hands connections
round between transactions, these are lost, or are another client's.
"""

import asyncio
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from pipeline.start_error import StartError

# A pooler takes the connection that was used last, or the one that was not used for longest.
LOOKS = 8
LOOK_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5
HINT = (
    "a pooler in front of PostgreSQL gives each transaction another connection (PgBouncer: pool_mode = transaction or "
    "statement), and Hookline needs its sessions for itself: set pool_mode = session for its database or its user, or "
    "name PostgreSQL itself in HOOKLINE_DATABASE_WRITE_URL"
)


def refuse_shared_sessions(url: str, connection: psycopg.Connection[Any]) -> None:
    """Raise `StartError` when sessions are shared; or what psycopg raises. Blocks. `connection`: one of them."""
    (pid,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
    is_direct = pid == connection.info.backend_pid
    if not is_direct and asyncio.run(_are_sessions_shared(url)):
        raise StartError(HINT)


async def _are_sessions_shared(url: str) -> bool:
    """Does a session that is open, and in no transaction, lose its connection to another one?"""
    try:
        async with (
            asyncio.timeout(LOOK_TIMEOUT_S),
            await AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as first,
            await AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as second,
        ):
            own = await find_server_pid(first)
            for _ in range(LOOKS):
                async with second.transaction():
                    # while the second one keeps its connection, the first one may have lost its own to it
                    if await find_server_pid(second) == own or await find_server_pid(first) != own:
                        return True
    except errors.ProtocolViolation:
        return True  # no transactions at all
    except TimeoutError:
        pass  # all of the pooler's connections are in use
    return False


async def find_server_pid(connection: AsyncConnection[TupleRow]) -> int:
    """The server's process of a session. A pooler in between tells its clients another one."""
    (pid,) = await (await connection.execute("select pg_backend_pid()")).fetchone() or (0,)
    return int(pid)
