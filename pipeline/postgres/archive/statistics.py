"""Statistics of partitions that have just begun to fill.

A plan is kept until statistics come. One made for an empty partition takes any index that begins with the application,
and reads all its rows for every id that is looked up: in a new installation a gateway accepted 1,600 events a second in
batches, not 10,400. Autovacuum looks once a minute; `analyze` puts an end to such plans in every session at once.
"""

from collections.abc import Collection
from datetime import date
from typing import LiteralString

import structlog
from psycopg.sql import SQL, Identifier

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.tables import TABLES

FIRST_ROWS = 500
GROWTH = 4  # from one look to the next: nearly all find nothing
PAGES_MIN = 4  # an emptier partition says nothing
# What is written next does not wait for a lock on a partition that it may have no rows for.
LOCK_TIMEOUT: LiteralString = "set local lock_timeout = '100ms'"

YOUNG = (
    "select c.relname from unnest(%s::regclass[]) t, pg_partition_tree(t) p "
    "join pg_class c on c.oid = p.relid "
    "where p.isleaf and c.reltuples < 0 and pg_relation_size(c.oid) >= %s * current_setting('block_size')::int"
)

log = structlog.get_logger()


class YoungPartitions:
    """Tells when to look for partitions without statistics: soon after rows of another day come, then more rarely."""

    def __init__(self) -> None:
        self._days: set[date] = set()
        self._rows, self._rows_until_look = 0, FIRST_ROWS

    def meet(self, days: Collection[date]) -> None:
        """Note that rows of these days come."""
        if not self._days.issuperset(days):
            self._days.update(days)
            self._rows, self._rows_until_look = 0, FIRST_ROWS

    def is_due(self, rows: int) -> bool:
        """Count rows that were written. Is it time to look?"""
        self._rows += rows
        if self._rows < self._rows_until_look:
            return False
        self._rows, self._rows_until_look = 0, self._rows_until_look * GROWTH
        return True


async def analyze_young(connection: Connection) -> list[str]:
    """Analyze the partitions that have rows and no statistics; their names. Raises what psycopg raises."""
    async with connection.transaction():
        await connection.execute(LOCK_TIMEOUT)
        cursor = await connection.execute(YOUNG, ([table.name for table in TABLES], PAGES_MIN))
        names = [str(row[0]) for row in await cursor.fetchall()]
    for name in names:
        async with connection.transaction():
            await connection.execute(LOCK_TIMEOUT)
            await connection.execute(SQL("analyze {}").format(Identifier(name)))
    if names:
        log.info("partitions_analyzed", partitions=names)
    return names
