"""Organizations: who owns applications."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.core.rights import Role
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """One organization."""

    organization_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationOnboarding:
    """The onboarding steps that an organization has done, in any of its applications."""

    application_ids: list[str]
    has_event_type: bool
    has_subscription: bool
    has_event: bool


async def create_organization(pool: Pool, organization: Organization, *, editor_id: str | None = None) -> None:
    """`editor_id`: the user who makes it."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(
            "insert into organizations (organization_id, name) values (%s, %s)",
            (organization.organization_id, organization.name),
        )
        if editor_id is not None:
            await connection.execute(
                "insert into members (organization_id, user_id, role) values (%s, %s, %s)",
                (organization.organization_id, editor_id, Role.EDITOR),
            )


async def list_organizations(pool: Pool, *, organization_ids: Sequence[str] | None = None) -> list[Organization]:
    """List all organizations, or those named; oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Organization)) as cursor:
        await cursor.execute(
            "select organization_id::text, name from organizations where deleted_at is null "
            "and (%(ids)s::uuid[] is null or organization_id = any(%(ids)s)) order by created_at, organization_id",
            {"ids": list(organization_ids) if organization_ids is not None else None},
        )
        return await fetch_rows(cursor)


async def find_organization(pool: Pool, organization_id: str) -> Organization | None:
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Organization)) as cursor:
        await cursor.execute(
            "select organization_id::text, name from organizations where organization_id = %s and deleted_at is null",
            (organization_id,),
        )
        return await cursor.fetchone()


async def find_organization_onboarding(pool: Pool, organization_id: str) -> OrganizationOnboarding:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "with own as (select application_id from applications "
            "where organization_id = %s and deleted_at is null) "
            "select (select coalesce(array_agg(application_id::text), '{}') from own), "
            "exists (select from event_types join own using (application_id) where is_active), "
            "exists (select from subscriptions join own using (application_id) where deleted_at is null), "
            # one probe of an index for each application: an archive is large
            "exists (select from own where exists "
            "(select from events e where e.application_id = own.application_id offset 0))",
            (organization_id,),
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a select without from has one row
    return OrganizationOnboarding(
        application_ids=row[0], has_event_type=row[1], has_subscription=row[2], has_event=row[3]
    )


async def rename_organization(pool: Pool, organization: Organization, *, was: str | None = None) -> bool:
    """Rename an organization. False: there is none, or its name is not `was`."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update organizations set name = %s where organization_id = %s and deleted_at is null "
            "and name = coalesce(%s, name)",
            (organization.name, organization.organization_id, was),
        )
        return cursor.rowcount == 1


async def has_applications(pool: Pool, organization_id: str) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select exists (select from applications where organization_id = %s and deleted_at is null)",
            (organization_id,),
        )
        row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def delete_organization(pool: Pool, organization_id: str) -> bool:
    """Delete an organization. False: there is none, or it still has applications."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update organizations set deleted_at = now() where organization_id = %(id)s and deleted_at is null "
            "and not exists (select from applications where organization_id = %(id)s and deleted_at is null)",
            {"id": organization_id},
        )
        return cursor.rowcount == 1
