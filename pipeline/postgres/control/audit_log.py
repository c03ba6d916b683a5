"""The audit log: who changed what. Rows are written by triggers of the tables that change; here they are read.

A request to send something again changes no such table: it is noted here, before it is carried out.

A transaction that is under way may have a lower `audit_id` than one that has ended. It holds a lock that says so.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from pipeline.postgres.pool import Pool

FORGET_ROWS = 10_000  # in one transaction
# with the number above which a transaction's entries are; the same as in the migration `audit_order`
PLACE_LOCK = 1_751_478_121


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. `changes`: by column a pair of before and after, or a word where it is not shown.

    Of a request to send something again: what was asked for.
    """

    audit_id: int
    changed_at: datetime
    actor_kind: str
    actor_id: str | None
    address: str | None
    organization_id: str | None
    application_id: str | None
    resource: str
    resource_id: str
    action: str
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A filter of entries; a member that is None matches all.

    `before`: entries with a lower id; `after`: those with a higher one, the nearest to it.
    """

    organization_id: str | None = None
    application_id: str | None = None
    actor_id: str | None = None
    resource: str | None = None
    resource_id: str | None = None
    before: int | None = None
    after: int | None = None


class AuditPage(NamedTuple):
    """Entries, newest first. `complete_to`: no entry with this `audit_id` or a lower one is still to come."""

    entries: list[AuditEntry]
    complete_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingAgain:
    """A request to send something (again). `application_id`: None: of all applications."""

    application_id: str | None
    resource: Literal["event", "request_attempt", "dead_letter", "subscription"]
    resource_id: str
    action: Literal["replayed", "retried", "redriven", "tested"]
    details: dict[str, Any]


async def note_request(pool: Pool, request: SendingAgain) -> None:
    """Note a request and who makes it. The entry stays when it fails afterwards: part of it may have been sent."""
    async with pool.connection() as connection:
        await connection.execute(
            "select note_request(%s, %s, %s, %s, %s)",
            (
                request.resource,
                request.resource_id,
                request.application_id,
                request.action,
                Jsonb(request.details),
            ),
        )


async def list_entries(pool: Pool, wanted: AuditFilter, *, most: int) -> AuditPage:
    """Entries that match. With `after` none above `complete_to`, so that reading on skips nothing."""
    way = SQL("desc" if wanted.after is None else "asc")
    query = SQL(
        "select audit_id, changed_at, actor_kind, actor_id, address, organization_id::text, application_id::text, "
        "resource, resource_id, action, changes from audit_log "
        "where (%(organization_id)s::uuid is null or organization_id = %(organization_id)s) "
        "and (%(application_id)s::uuid is null or application_id = %(application_id)s) "
        "and (%(actor_id)s::text is null or actor_id = %(actor_id)s) "
        "and (%(resource)s::text is null or resource = %(resource)s) "
        "and (%(resource_id)s::text is null or resource_id = %(resource_id)s) "
        "and (%(before)s::bigint is null or audit_id < %(before)s) "
        "and (%(after)s::bigint is null or audit_id > %(after)s and audit_id <= %(complete_to)s) "
        "order by audit_id {} limit %(most)s"
    ).format(way)
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
        complete_to = await _find_complete_to(connection)
        await cursor.execute(
            query,
            {
                "complete_to": complete_to,
                "organization_id": wanted.organization_id,
                "application_id": wanted.application_id,
                "actor_id": wanted.actor_id,
                "resource": wanted.resource,
                "resource_id": wanted.resource_id,
                "before": wanted.before,
                "after": wanted.after,
                "most": most,
            },
        )
        found = await cursor.fetchall()
    return AuditPage(found if wanted.after is None else found[::-1], complete_to)


async def _find_complete_to(connection: AsyncConnection[Any]) -> int:
    """The number up to which all entries can be seen by the next statement.

    In two statements: a transaction that comes between them has its numbers behind the first one's answer.
    """
    cursor = await connection.execute(
        "select last_value - (not is_called)::int from audit_log_audit_id_seq",
    )
    (given,) = await cursor.fetchone() or (0,)
    cursor = await connection.execute(
        "select min(objid::bigint) from pg_locks where locktype = 'advisory' and classid = %s and objsubid = 2 "
        "and database = (select oid from pg_database where datname = current_database())",
        (PLACE_LOCK,),
    )
    (held,) = await cursor.fetchone() or (None,)
    return int(given if held is None else min(given, held))


async def forget_entries(pool: Pool, *, days: int) -> int:
    """Delete entries older than `days`, oldest first and not all at once; returns how many."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "delete from audit_log where audit_id in (select audit_id from audit_log "
            "where changed_at < now() - %s * interval '1 day' "
            "and not exists (select from changes_to_tell t where t.audit_id = audit_log.audit_id) "
            "order by changed_at limit %s)",
            (days, FORGET_ROWS),
        )
        return cursor.rowcount
