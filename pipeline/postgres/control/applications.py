"""Applications, and the version of what the log holds of each.

Every change of something that is published raises `routes_version` in the transaction that makes it (`raise_version`).
"""

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row, tuple_row

from pipeline.postgres.control.subscription_versions import keep_versions
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application."""

    application_id: str
    organization_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """The onboarding steps that an application has done."""

    has_event_type: bool
    has_subscription: bool
    has_event: bool


async def raise_version(connection: AsyncConnection[TupleRow], application_id: str) -> int | None:
    """Raise the application's version and keep others from changing it until the transaction ends.

    The new version; None when there is no such application.
    """
    cursor = await connection.execute(
        "update applications set routes_version = routes_version + 1, change_id = gen_random_uuid() "
        "where application_id = %s and deleted_at is null returning routes_version",
        (application_id,),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else None


async def create_application(
    pool: Pool, application: Application, *, applications_max: int | None = None
) -> bool | None:
    """Create an application: True; None: there is no such organization; False: it has `applications_max` already."""
    async with pool.connection() as connection, connection.transaction():
        # others who create one wait here, so that they count this one
        cursor = await connection.execute(
            "select from organizations where organization_id = %s and deleted_at is null for no key update",
            (application.organization_id,),
        )
        if await cursor.fetchone() is None:
            return None
        if applications_max is not None:
            cursor = await connection.execute(
                "select count(*) from applications where organization_id = %s and deleted_at is null",
                (application.organization_id,),
            )
            row = await cursor.fetchone()
            if row is not None and row[0] >= applications_max:
                return False
        await connection.execute(
            "insert into applications (application_id, organization_id, name) values (%s, %s, %s)",
            (application.application_id, application.organization_id, application.name),
        )
    return True


async def list_applications(pool: Pool, organization_id: str) -> list[Application]:
    """Oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Application)) as cursor:
        await cursor.execute(
            "select application_id::text, organization_id::text, name from applications "
            "where organization_id = %s and deleted_at is null order by created_at, application_id",
            (organization_id,),
        )
        return await fetch_rows(cursor)


async def find_application(pool: Pool, application_id: str) -> Application | None:
    found = await pool.fetch(
        b"select application_id::text, organization_id::text, name from applications "
        b"where application_id = %s and deleted_at is null",
        (application_id,),
        class_row(Application),
    )
    return found[0] if found else None


async def rename_application(pool: Pool, application_id: str, name: str, *, was: str | None = None) -> bool:
    """Rename an application. False: there is none, or its name is not `was`. Names are not published."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update applications set name = %s where application_id = %s and deleted_at is null "
            "and name = coalesce(%s, name)",
            (name, application_id, was),
        )
        return cursor.rowcount == 1


async def delete_application(pool: Pool, application_id: str) -> bool:
    """Delete an application with all its parts; waiting deliveries are cancelled. False when there is none."""
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        if version is None:
            return False
        await connection.execute(
            "update subscriptions set deleted_at = now(), cancelled_before = now(), "
            "cancelled_before_version = %(version)s, changed_version = %(version)s "
            "where application_id = %(application_id)s and deleted_at is null",
            {"version": version, "application_id": application_id},
        )
        await keep_versions(connection, application_id, version)
        await connection.execute(
            "update application_secrets set deleted_at = now(), changed_version = %s "
            "where application_id = %s and deleted_at is null",
            (version, application_id),
        )
        await connection.execute(
            "update applications set deleted_at = now() where application_id = %s", (application_id,)
        )
    return True


async def find_onboarding(pool: Pool, application_id: str) -> Onboarding:
    (row,) = await pool.fetch(
        b"select exists (select from event_types where application_id = %(id)s and is_active), "
        b"exists (select from subscriptions where application_id = %(id)s and deleted_at is null), "
        b"exists (select from events where application_id = %(id)s)",
        {"id": application_id},
        tuple_row,
    )
    return Onboarding(has_event_type=row[0], has_subscription=row[1], has_event=row[2])


async def find_published_version(pool: Pool, application_id: str) -> int | None:
    """The newest version that is in the log; None when there is no such application, or nothing of it there yet."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select published_version from applications where application_id = %s and published_version > 0",
            (application_id,),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row is not None else None


async def find_application_of_secret(pool: Pool, token_hash: bytes) -> str | None:
    """The application that a secret which is not revoked belongs to."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select s.application_id::text from application_secrets s join applications a using (application_id) "
            "where s.token_hash = %s and s.deleted_at is null and a.deleted_at is null",
            (token_hash,),
        )
        row = await cursor.fetchone()
    return str(row[0]) if row is not None else None
