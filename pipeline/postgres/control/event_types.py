"""Event types: `service.resource.verb`, created again when they were deactivated."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, Rollback
from psycopg.rows import TupleRow, class_row

from pipeline.core.events.operational import OPERATIONAL_TYPES
from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One event type by its parts."""

    service: str
    resource_type: str
    verb: str

    @property
    def name(self) -> str:
        return f"{self.service}.{self.resource_type}.{self.verb}"


async def create_event_type(
    pool: Pool, application_id: str, event_type: EventType, *, event_types_max: int | None = None
) -> bool | None:
    """Create an event type, or activate it again; one that is active stays as it is.

    Returns True; None if there is no such application; False if it has `event_types_max` other types already.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return None
        if event_types_max is not None:
            cursor = await connection.execute(
                "select count(*) from event_types where application_id = %s and is_active and name <> %s",
                (application_id, event_type.name),
            )
            row = await cursor.fetchone()
            if row is not None and row[0] >= event_types_max:
                raise Rollback  # leaves the block: nothing has changed, so that there is nothing to be published
        await connection.execute(
            "insert into event_types as t (application_id, name, service, resource_type, verb, changed_version, "
            "created_version) values (%s, %s, %s, %s, %s, %s, %s) "
            "on conflict (application_id, name) do update set is_active = true, service = excluded.service, "
            "resource_type = excluded.resource_type, verb = excluded.verb, changed_version = excluded.changed_version, "
            "created_version = case when t.is_active then t.created_version else excluded.created_version end",
            (
                application_id,
                event_type.name,
                event_type.service,
                event_type.resource_type,
                event_type.verb,
                version,
                version,
            ),
        )
        return True
    return False


async def list_event_types(
    pool: Pool,
    application_id: str,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int | None = None,
) -> list[EventType]:
    """The active ones by name. `after`, `before`: names; those before one are the nearest to it."""
    way = "desc" if before is not None else "asc"
    # a bound that is not there is not in the statement: `… is null or …` in a kept plan would read every name
    bounds = ('and name collate "C" > %(after)s ' if after is not None else "") + (
        'and name collate "C" < %(before)s ' if before is not None else ""
    )
    query = (
        "select service, resource_type, verb from event_types "  # noqa: S608 - our own words
        f'where application_id = %(application_id)s and is_active {bounds}order by name collate "C" {way} '
        "limit %(limit)s"
    )
    values = {"application_id": application_id, "after": after, "before": before, "limit": limit}
    if limit is not None:
        found = await pool.fetch(query.encode(), values, class_row(EventType))
    else:  # there may be any number
        async with pool.connection() as connection, connection.cursor(row_factory=class_row(EventType)) as cursor:
            await cursor.execute(query.encode(), values)
            found = await fetch_rows(cursor)
    return found[::-1] if before is not None else found


async def deactivate_event_type(pool: Pool, application_id: str, name: str) -> bool:
    """Deactivate an event type. False: there is no such active one."""
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return False
        cursor = await connection.execute(
            "update event_types set is_active = false, changed_version = %s "
            "where application_id = %s and name = %s and is_active",
            (version, application_id, name),
        )
        return cursor.rowcount == 1


async def list_missing(connection: AsyncConnection[TupleRow], application_id: str, names: Sequence[str]) -> list[str]:
    """The `names` that are neither active event types of the application nor operational ones."""
    cursor = await connection.execute(
        "select wanted.name from unnest(%s::text[]) as wanted (name) where not exists (select from event_types t "
        "where t.application_id = %s and t.name = wanted.name and t.is_active)",
        ([name for name in names if name not in OPERATIONAL_TYPES], application_id),
    )
    return [str(row[0]) for row in await cursor.fetchall()]
