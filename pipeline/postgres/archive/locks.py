"""The room that PostgreSQL has for locks. A list that names no day locks the tables and indexes of all days.

Sessions that lock the same tables need room for them once. Where there is none, statements fail, of every organization.
"""

from typing import NamedTuple

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.division import DIVIDED
from pipeline.postgres.archive.tables import TABLES


class Room(NamedTuple):
    """Tables and indexes that there can be locks on, and those that there would be."""

    locks_max: int
    needed: int
    sessions_max: int

    @property
    def needed_per_session(self) -> int:
        """`max_locks_per_transaction` that is enough."""
        return -(-self.needed // self.sessions_max)


async def find_room(connection: Connection, *, days: int, organizations: int) -> Room:
    """The room for locks with so many days, and organizations that have partitions of their own."""
    undivided = await _count_relations(connection, [table.name for table in TABLES if table not in DIVIDED])
    divided = await _count_relations(connection, [table.name for table in DIVIDED])
    parts = organizations + 2 if organizations else 1  # that of all others, and the day's table itself
    cursor = await connection.execute(
        "select current_setting('max_locks_per_transaction')::int, "
        "current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int"
    )
    per_session, sessions = await cursor.fetchone() or (0, 1)
    return Room(per_session * sessions, days * (undivided + divided * parts), sessions)


async def _count_relations(connection: Connection, tables: list[str]) -> int:
    """A partition has as many indexes as its table."""
    cursor = await connection.execute(
        "select count(*) from pg_index where indrelid = any (%s::text[]::regclass[])", (tables,)
    )
    row = await cursor.fetchone()
    return len(tables) + (int(row[0]) if row else 0)
