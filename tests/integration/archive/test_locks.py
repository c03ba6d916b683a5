"""A PostgreSQL with room for few locks, and an archive of many tables."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.postgres import migrations
from pipeline.postgres.archive.isolation import ISOLATED_MAX, IsolationError, isolate, list_isolated
from pipeline.postgres.archive.locks import find_room
from tests.integration.archive.records import make_id
from tests.integration.archive.tables import connect
from tests.integration.archive.test_isolation import make_organization

LEAST = 10  # that PostgreSQL takes
DAYS = 12


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[str]:
    """A migrated database on a server of its own."""
    server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"alter system set max_locks_per_transaction = {LEAST}")
        await asyncio.to_thread(server.stop)
        server = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
        await asyncio.to_thread(migrations.migrate, server.url)
        yield server.url
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_organization_too_many_is_refused(narrow: str) -> None:
    """Organizations get partitions of their own while there is room; the next one is refused, and hears what to set."""
    isolated, refusal = 0, ""
    async with await connect(narrow) as connection:
        while not refusal:
            try:
                await isolate(connection, make_organization(narrow, make_id()), days_kept=DAYS)
                isolated += 1
            except IsolationError as error:
                refusal = str(error)
        kept = len(await list_isolated(connection))
        room = await find_room(connection, days=DAYS, organizations=isolated)
        beyond = await find_room(connection, days=DAYS, organizations=isolated + 1)

    assert f"Set its max_locks_per_transaction to {beyond.needed_per_session} or more" in refusal
    assert ISOLATED_MAX > isolated == kept > 0
    assert room.needed <= room.locks_max < beyond.needed
    assert LEAST < beyond.needed_per_session
