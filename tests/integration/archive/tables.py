"""Looking into the archive's tables, past the code that is tested."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from connectors.postgres.rows import RowBuilder
from connectors.sink import LogRecord, Place
from pipeline.config import DatabaseConfig
from pipeline.core.log.positions import NOTHING_YET, Positions
from pipeline.postgres.archive.writer import ArchiveBatch, ArchiveWriter
from tests.integration.archive.records import TOPICS

ROWS = RowBuilder(TOPICS, compress_min_bytes=1024)


def configure(database: str, **fields: Any) -> DatabaseConfig:
    return DatabaseConfig(write_url=SecretStr(database), **fields)


@asynccontextmanager
async def open_writer(database: str) -> AsyncIterator[ArchiveWriter]:
    writer = ArchiveWriter(configure(database))
    try:
        yield writer
    finally:
        await writer.close()


class Owner:
    """An archive process in small: claims the places it meets, builds rows, writes them."""

    def __init__(self, writer: ArchiveWriter) -> None:
        self.writer = writer
        self.owners: dict[Place, Any] = {}
        self.positions = Positions()

    async def claim(self, *places: Place) -> dict[Place, int | None]:
        self.owners |= {place: uuid4() for place in places}
        found = await self.writer.claim({place: self.owners[place] for place in places})
        claimed = {place: each.next_offset for place, each in found.items()}
        for place, offset in claimed.items():
            self.positions.begin(place, NOTHING_YET if offset is None else offset)
        return claimed

    async def write(self, *records: LogRecord) -> dict[str, int]:
        """One transaction with all of `records`; the new rows by table."""
        unknown = {record.place for record in records} - self.owners.keys()
        if unknown:
            await self.claim(*unknown)
        batch = make_batch(self, *records)
        added = await self.writer.write(batch)
        for place, step in batch.steps.items():
            self.positions.move(place, step.next_offset)
        return added


def make_batch(owner: Owner, *records: LogRecord) -> ArchiveBatch:
    offsets = {place: [each.offset for each in records if each.place == place] for place in {r.place for r in records}}
    return ArchiveBatch(
        steps={place: owner.positions.plan(place, offsets[place]) for place in offsets},
        owners={place: owner.owners[place] for place in offsets},
        appended_at_us=ROWS.read_log_times(records),
        rows=ROWS.build(records),
    )


def read_rows(database: str, table: str) -> list[dict[str, Any]]:
    """All rows, ids and days as text."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        rows = connection.execute(SQL("select *, tableoid::regclass::text as part from {}").format(Identifier(table)))
        return [
            {name: str(value) if type(value).__name__ in ("UUID", "date") else value for name, value in row.items()}
            for row in rows.fetchall()
        ]


def count_rows(database: str, table: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(SQL("select count(*) from {}").format(Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def read_offsets(database: str) -> dict[Place, int]:
    """Where each partition is to be read on."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("select topic, partition, next_offset from archive_offsets").fetchall()
    return {(topic, partition): next_offset for topic, partition, next_offset in rows}


def read_positions(database: str) -> dict[Place, int]:
    """Read the positions of partitions of which something is archived."""
    return {place: next_offset for place, next_offset in read_offsets(database).items() if next_offset > 0}


def list_partitions(database: str, table: str) -> list[str]:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass order by 1", (table,)
        )
        return [row[0] for row in rows.fetchall()]


def is_waiting(database: str) -> bool:
    """Does exactly one session wait for a lock?"""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return row == (1,)


async def connect(database: str) -> "AsyncConnection[tuple[Any, ...]]":
    return await AsyncConnection.connect(database, autocommit=True)
