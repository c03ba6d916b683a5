"""Preparing the archive to be written again from the log: tables that are missing are made, positions begin anew.

Rows that are there stay, and are not written twice. The writing itself is the archive process'.
"""

from importlib.resources import files
from typing import NamedTuple

from psycopg.sql import SQL

from pipeline.core.log.positions import Place
from pipeline.postgres.archive.connection import LONG_TIMEOUT_S, Connection
from pipeline.postgres.archive.minutes import count_again
from pipeline.postgres.archive.partitions import lock_partitions
from pipeline.postgres.archive.tables import TABLES

OTHERS = ("archive_offsets", "archive_detached", "redriven_events", "attempt_minutes")


class Plan(NamedTuple):
    """Missing tables, and how far each partition is written."""

    missing_tables: list[str]
    positions: dict[Place, int]


async def plan_rebuild(connection: Connection) -> Plan:
    """The plan of `prepare_rebuild`, without a change."""
    names = [name for table in TABLES for name in (table.name, table.default_partition)] + list(OTHERS)
    cursor = await connection.execute(
        "select name from unnest(%s::text[]) name where to_regclass(name) is null order by name", (names,)
    )
    missing = [row[0] for row in await cursor.fetchall()]
    if "archive_offsets" in missing:
        return Plan(missing, {})
    return Plan(missing, await read_positions(connection))


async def prepare_rebuild(connection: Connection) -> None:
    """Make missing tables, and forget all positions: archive processes that run are fenced off and begin anew.

    Attempts that are there are counted again; those that come are counted as they are written.
    """
    schema = files("pipeline.postgres.archive").joinpath("schema.sql").read_text()
    async with connection.transaction():
        await lock_partitions(connection, patience_s=LONG_TIMEOUT_S)
        await connection.execute(schema.encode())
        # waits for batches that are being written; none begins before this is committed
        await connection.execute(SQL("delete from archive_offsets"))
        await count_again(connection)


async def read_positions(connection: Connection) -> dict[Place, int]:
    """How far each partition is written; 0 when nothing is."""
    cursor = await connection.execute("select topic, partition, greatest(next_offset, 0) from archive_offsets")
    return {(topic, partition): next_offset for topic, partition, next_offset in await cursor.fetchall()}
