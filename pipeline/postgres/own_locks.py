"""Advisory locks of one installation. PostgreSQL has one space of them for a database, which installations may share.

The release before had one lock of each kind for the whole database. It is shared here, so that processes of that
release wait for those of this one, and these for them.

A lock is tried for again and again, and never waited for in a statement: a statement that waits has a snapshot, an
index that is made concurrently under the lock waits for all snapshots that are older, and PostgreSQL does not see that
the one waits for the other. `TRY` is executed by a `ClientCursor` for the same reason: after the extended protocol, a
transaction has the snapshot of its last statement as long as no other follows.
"""

from dataclasses import dataclass
from typing import LiteralString

# the schema that has a table, or in which it would be made
SCHEMA: LiteralString = (
    "((select coalesce((select relnamespace from pg_class where oid = to_regclass(%(table)s)), "
    "(select oid from pg_namespace where nspname = current_schema())))::bigint & 2147483647)::int"
)
# A statement, to be executed with `OwnLock.values`.
TRY: LiteralString = (
    f"select pg_try_advisory_xact_lock_shared(%(before)s) and pg_try_advisory_xact_lock(%(kind)s, {SCHEMA})"
)
AGAIN_AFTER_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLock:
    """A kind of lock, held to the end of a transaction. `table`: one of the installation's.

    `before`: the lock of the release before.
    """

    kind: int
    table: str
    before: int

    @property
    def values(self) -> dict[str, object]:
        """Values of the statement above."""
        return {"kind": self.kind, "table": self.table, "before": self.before}


# migrations and partitions change the same tables
TABLES = int.from_bytes(b"line")
TABLES_BEFORE = int.from_bytes(b"hookline")
MIGRATING = OwnLock(kind=TABLES, table="_yoyo_migration", before=TABLES_BEFORE)
DIVIDING = OwnLock(kind=TABLES, table="events", before=TABLES_BEFORE)
REDRIVING = OwnLock(kind=int.from_bytes(b"redr"), table="redrives", before=int.from_bytes(b"redrives"))
