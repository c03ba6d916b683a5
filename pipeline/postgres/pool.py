"""Connections to PostgreSQL, pooled; and which of psycopg's errors mean that it is away."""

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.process import StartError

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]

# PostgreSQL cannot be asked at this time; later it may.
DatabaseUnavailable = (psycopg.OperationalError, PoolTimeout, errors.ReadOnlySqlTransaction)


async def open_pool(
    config: DatabaseConfig, url: SecretStr, *, name: str, size_max: int | None = None, is_bare: bool = False
) -> Pool:
    """A pool of at most `size_max` connections (`pool_size` by default), with one that works.

    `name`: shown in pg_stat_activity. `is_bare`: no transaction around what is executed, no check before, and one plan
    for all: one trip to the server instead of four, for whoever executes the same statement always, and can repeat it.

    Raises `StartError` when the server cannot be reached or refuses us.
    """
    text = url.get_secret_value()
    options = f"-c statement_timeout={int(config.statement_timeout_s * 1000)}"
    if is_bare:
        options += " -c plan_cache_mode=force_generic_plan"
    try:
        async with await AsyncConnection.connect(text, connect_timeout=max(2, round(config.connect_timeout_s))):
            pass
    except psycopg.OperationalError as error:
        raise StartError(describe_unreachable(text, error)) from error
    pool: Pool = AsyncConnectionPool(
        text,
        min_size=1,
        max_size=size_max or config.pool_size,
        timeout=config.connect_timeout_s,
        kwargs={
            "autocommit": is_bare,
            "application_name": f"hookline-{name}",
            "connect_timeout": max(2, round(config.connect_timeout_s)),
            "options": options,
            # a server that vanished without a word is noticed in about ten seconds
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
        # a connection that died while it was idle is noticed before it is used
        check=None if is_bare else AsyncConnectionPool.check_connection,
        open=False,
    )
    await pool.open()
    return pool


def describe_unreachable(url: str, error: Exception) -> str:
    """One sentence for whoever starts the process; without the password."""
    info = psycopg.conninfo.conninfo_to_dict(url)
    place = f"{info.get('host', 'local socket')}:{info.get('port', 5432)}, database {info.get('dbname', 'default')}"
    reason = " ".join(str(error).split())
    return (
        f"cannot use PostgreSQL at {place}: {reason}. Is it running, and is HOOKLINE_DATABASE_WRITE_URL "
        "(address, user, password, database) right?"
    )
