"""The division of a day of a table: one table, or partitions by application for organizations that have their own.

Which organizations those are, and since when, is in `isolated_organizations`; who changes that lives in `isolation`.
"""

import re
from collections.abc import Mapping
from datetime import date

from psycopg.sql import SQL, Composable, Identifier, Literal

from pipeline.postgres.archive.connection import Connection
from pipeline.postgres.archive.tables import TABLES, ArchiveTable

# Organization → its applications, as text. Empty: the day is one table.
Division = Mapping[str, frozenset[str]]

# Those whose primary key names the application: PostgreSQL divides by nothing else. Dead letters stay together.
DIVIDED = tuple(table for table in TABLES if "application_id" in table.key)
WHOLE: Division = {}
_find_uuids = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").findall


def name_part(table: ArchiveTable, day: date, organization_id: str | None) -> str:
    """The partition of a day for an organization; None: of all others."""
    return f"{table.partition_of(day)}_{name_suffix(organization_id)}"


def name_suffix(organization_id: str | None) -> str:
    return "rest" if organization_id is None else organization_id.replace("-", "")


async def plan_division(connection: Connection, table: ArchiveTable, day: date) -> Division:
    """How a day is to be divided, by what is known now. An organization without applications has no partition."""
    if table not in DIVIDED:
        return WHOLE
    cursor = await connection.execute(
        "select organization_id::text, array_agg(application_id::text) "
        "from isolated_organizations join applications using (organization_id) "
        "where isolated_from <= %s and deleted_at is null group by organization_id",
        (day,),
    )
    return {organization_id: frozenset(applications) for organization_id, applications in await cursor.fetchall()}


async def read_division(connection: Connection, table: ArchiveTable, day: date) -> Division:
    """How a day's partition is divided."""
    found = {}
    for name, bound in await list_parts(connection, table.partition_of(day)):
        applications = _find_uuids(bound)
        if applications:
            organization = name.removeprefix(f"{table.partition_of(day)}_")
            found["-".join(re.findall("^(.{8})(.{4})(.{4})(.{4})(.{12})$", organization)[0])] = frozenset(applications)
    return found


async def list_parts(connection: Connection, name: str) -> list[tuple[str, str]]:
    """The partitions of a table, and what each of them holds as PostgreSQL writes it."""
    cursor = await connection.execute(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "where i.inhparent = %s::regclass order by 1",
        (name,),
    )
    return [(str(part), str(bound)) for part, bound in await cursor.fetchall()]


async def create_day(connection: Connection, table: ArchiveTable, day: date) -> None:
    """Make the table of a day, not attached yet, divided as planned."""
    division = await plan_division(connection, table, day)
    parts = {organization: name_part(table, day, organization) for organization in (*division, None)}
    if await _is_any_taken(connection, list(parts.values())):
        division = WHOLE  # the day was there before, and its table was taken out: what comes now are single rows
    await connection.execute(
        SQL("create table {} (like {} including storage including indexes including constraints) {}").format(
            Identifier(table.partition_of(day)),
            Identifier(table.name),
            SQL("partition by list (application_id)" if division else ""),
        )
    )
    for organization in (*division, None) if division else ():
        await connection.execute(
            SQL("create table {} partition of {} {}").format(
                Identifier(parts[organization]), Identifier(table.partition_of(day)), _bound(division, organization)
            )
        )


def _bound(division: Division, organization: str | None) -> Composable:
    if organization is None:
        return SQL("default")
    return SQL("for values in ({})").format(SQL(", ").join(map(Literal, sorted(division[organization]))))


async def _is_any_taken(connection: Connection, names: list[str]) -> bool:
    cursor = await connection.execute("select from pg_class where relname = any(%s) limit 1", (names,))
    return await cursor.fetchone() is not None
