"""Ending the session of a process that stands still in the middle of a write, so that its successor need not wait.

PostgreSQL ends a session that is idle in a transaction (`idle_in_transaction_session_timeout`). A session whose client
went silent while it sent rows (COPY) is not idle: no time-out ends it, and it keeps its locks as long as the client's
machine answers.
"""

import asyncio

import structlog

from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.connection import open_archive_connection

LOOK_INTERVAL_S = 1.0
# Silent for longer than a client that works: rows are sent as fast as they are taken.
END_SILENT: bytes = (
    b"select pid, pg_terminate_backend(pid) from pg_stat_activity where pid = any(pg_blocking_pids(%s)) "
    b"and wait_event = 'ClientRead' and state_change < clock_timestamp() - interval '2 s'"
)
log = structlog.get_logger()


async def end_frozen_sessions(config: DatabaseConfig, waiting_pid: int) -> None:
    """Look every second which sessions this one waits for, and end those whose clients are silent. Ends by cancelling.

    PostgreSQL rolls such a session back; its process gets an error when it wakes. Raises what psycopg raises.
    """
    await asyncio.sleep(LOOK_INTERVAL_S)
    async with await open_archive_connection(config) as connection:
        while True:
            cursor = await connection.execute(END_SILENT, (waiting_pid,))
            for pid, is_ended in await cursor.fetchall():
                log.warning("frozen_session_ended", pid=pid, ended=is_ended)
            await asyncio.sleep(LOOK_INTERVAL_S)
