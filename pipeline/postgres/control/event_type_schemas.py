"""The payload schemas of event types: a JSON Schema with its versions, its mode, and an example."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row

from pipeline.core.routing.payload_schema import Mode
from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.control.event_types import EventType
from pipeline.postgres.pool import Pool

VERSIONS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The present payload schema of an event type. `version`: of its schema; 0: it has none."""

    event_type: EventType
    mode: Mode
    version: int
    schema: str | None
    example: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """A schema that an event type has, or had."""

    version: int
    schema: str
    created_at: datetime


async def find_contract(pool: Pool, application_id: str, name: str) -> Contract | None:
    """Find the contract of an active event type."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "select service, resource_type, verb, schema_mode, schema_version, s.schema, example from event_types "
            "left join event_type_schemas s using (application_id, name, schema_version) "
            "where application_id = %s and name = %s and is_active",
            (application_id, name),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return Contract(
        event_type=EventType(service=row["service"], resource_type=row["resource_type"], verb=row["verb"]),
        mode=row["schema_mode"],
        version=row["schema_version"],
        schema=row["schema"],
        example=row["example"],
    )


async def change_contract(
    pool: Pool,
    application_id: str,
    name: str,
    *,
    mode: Mode,
    schema: str | None,
    example: str | None,
    was: Contract | None = None,
) -> bool:
    """Change an event type's schema. False: there is no such active type, or its schema is not `was`.

    A schema that differs from the present one is a new version. The newest `VERSIONS_MAX` are kept.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        cursor = await connection.execute(
            "select s.schema, t.schema_version, coalesce((select max(schema_version) from event_type_schemas "
            "where application_id = t.application_id and name = t.name), 0), t.schema_mode, t.example "
            "from event_types t "
            "left join event_type_schemas s using (application_id, name, schema_version) "
            "where application_id = %s and name = %s and is_active",
            (application_id, name),
        )
        row = await cursor.fetchone()
        if version is None or row is None:
            return False
        present, number, newest, present_mode, present_example = row
        if was is not None and (was.version, was.mode, was.example) != (number, present_mode, present_example):
            return False
        if schema != present:
            number = newest + 1 if schema is not None else 0
        if schema is not None and schema != present:
            await connection.execute(
                "insert into event_type_schemas (application_id, name, schema_version, schema) values (%s, %s, %s, %s)",
                (application_id, name, number, schema),
            )
            await connection.execute(
                "delete from event_type_schemas where application_id = %s and name = %s and schema_version <= %s",
                (application_id, name, number - VERSIONS_MAX),
            )
        await connection.execute(
            "update event_types set schema_mode = %s, schema_version = %s, example = %s, changed_version = %s "
            "where application_id = %s and name = %s",
            (mode, number, example, version, application_id, name),
        )
    return True


async def list_schemas(pool: Pool, application_id: str, name: str) -> list[SchemaVersion]:
    """Newest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(SchemaVersion)) as cursor:
        await cursor.execute(
            "select schema_version as version, schema, created_at from event_type_schemas "
            "where application_id = %s and name = %s order by schema_version desc",
            (application_id, name),
        )
        return await cursor.fetchall()
