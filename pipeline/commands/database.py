"""PostgreSQL for a command: a database that answers and is up to date, or one sentence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import DatabaseConfig
    from pipeline.postgres.archive.connection import Connection
    from pipeline.postgres.pool import Pool


@asynccontextmanager
async def open_command_pool(config: "DatabaseConfig", *, name: str) -> "AsyncIterator[Pool]":
    """A pool on the primary. Raises `StartError` when it cannot be used, or lacks migrations."""
    from pipeline.postgres import migrations
    from pipeline.postgres.pool import open_pool

    await asyncio.to_thread(migrations.verify, config.write_url.get_secret_value())
    pool = await open_pool(config, config.write_url, name=name)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def open_command_connection(config: "DatabaseConfig") -> "AsyncIterator[Connection]":
    """A connection for the archive's own work. Raises `StartError` when it cannot be used, or lacks migrations."""
    from pipeline.postgres import migrations
    from pipeline.postgres.archive.connection import open_archive_connection

    await asyncio.to_thread(migrations.verify, config.write_url.get_secret_value())
    async with await open_archive_connection(config) as connection:
        yield connection


async def require_application(connection: "Connection", application_id: str) -> None:
    """Raise `StartError` unless there is, or was, this application: of a mistyped id no event is missing."""
    from pipeline.start_error import StartError

    cursor = await connection.execute("select from applications where application_id = %s", (application_id,))
    if await cursor.fetchone() is None:
        raise StartError(f"there is no application {application_id}")
