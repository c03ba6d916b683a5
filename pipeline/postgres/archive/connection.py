"""Connections to the primary for the archive's own work: their settings, each with its reason."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow

from pipeline.config import DatabaseConfig
from pipeline.postgres.pool import describe_unreachable
from pipeline.postgres.session import CheckedConnection, describe_connection, prepare

Connection = AsyncConnection[TupleRow]
LONG_TIMEOUT_S = 900
WORK_MEM_MIB = 64  # a hash of a day's delivery ids fits up to about half a million; beyond that it spills
LONG: Mapping[str, object] = {
    "statement_timeout": f"{LONG_TIMEOUT_S}s",
    # a snapshot stays open while logs are read
    "idle_in_transaction_session_timeout": f"{LONG_TIMEOUT_S}s",
    "work_mem": f"{WORK_MEM_MIB}MB",
    "jit": "off",
}


async def open_archive_connection(config: DatabaseConfig) -> Connection:
    """A connection to the primary for the archive's own work. Raises `psycopg.OperationalError`, `StartError`."""
    settings: dict[str, object] = {
        "statement_timeout": int(config.statement_timeout_s * 1000),
        # a process frozen in the middle of a transaction must not keep its successor waiting
        "idle_in_transaction_session_timeout": 10_000,
        # the staged rows have no statistics; without these the planner may read whole partitions instead of probing
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
    }
    url = config.write_url.get_secret_value()
    return await _connect(url, describe_connection(config, url, name="archive"), settings)


async def open_long_connection(config: DatabaseConfig) -> Connection:
    """A connection to the primary for statements that take minutes. Raises `StartError` when PostgreSQL refuses us."""
    url = config.write_url.get_secret_value()
    try:
        return await _connect(url, describe_connection(config, url, name="ledger"), LONG)
    except OperationalError as error:
        raise describe_unreachable(url, error) from error


async def _connect(url: str, options: Mapping[str, Any], settings: Mapping[str, object]) -> Connection:
    connection = await CheckedConnection.connect(url, autocommit=True, **options)
    try:
        await prepare(connection, settings, is_durable=False)
    except BaseException:
        await connection.close()
        raise
    return connection
