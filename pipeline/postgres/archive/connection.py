"""The archive's own connection to the primary: its settings, each with its reason."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from pipeline.config import DatabaseConfig
from pipeline.postgres.session import describe_session

Connection = AsyncConnection[TupleRow]


async def open_archive_connection(config: DatabaseConfig) -> Connection:
    """A connection to the primary for the archive's own work. Raises `psycopg.OperationalError`."""
    statement_timeout_ms = int(config.statement_timeout_s * 1000)
    settings: dict[str, object] = {
        "statement_timeout": statement_timeout_ms,
        # a process frozen in the middle of a transaction must not keep its successor waiting
        "idle_in_transaction_session_timeout": 10_000,
        # the staged rows have no statistics; without these the planner may read whole partitions instead of probing
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
    }
    url = config.write_url.get_secret_value()
    return await AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=max(2, round(config.connect_timeout_s)),
        application_name="hookline-archive",
        # a server that vanished without a word is noticed in about ten seconds
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        options=describe_session(url, settings),
    )
