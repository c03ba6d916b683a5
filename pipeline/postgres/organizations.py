"""Organizations: who owns applications."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """One organization."""

    organization_id: str
    name: str


async def create_organization(pool: Pool, organization: Organization) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "insert into organizations (organization_id, name) values (%s, %s)",
            (organization.organization_id, organization.name),
        )


async def list_organizations(pool: Pool) -> list[Organization]:
    """All of them, oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Organization)) as cursor:
        await cursor.execute(
            "select organization_id::text, name from organizations where deleted_at is null "
            "order by created_at, organization_id"
        )
        return await cursor.fetchall()


async def find_organization(pool: Pool, organization_id: str) -> Organization | None:
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Organization)) as cursor:
        await cursor.execute(
            "select organization_id::text, name from organizations where organization_id = %s and deleted_at is null",
            (organization_id,),
        )
        return await cursor.fetchone()


async def rename_organization(pool: Pool, organization: Organization) -> bool:
    """False when there is none."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update organizations set name = %s where organization_id = %s and deleted_at is null",
            (organization.name, organization.organization_id),
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
    """False when there is none, or when it still has applications."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "update organizations set deleted_at = now() where organization_id = %(id)s and deleted_at is null "
            "and not exists (select from applications where organization_id = %(id)s and deleted_at is null)",
            {"id": organization_id},
        )
        return cursor.rowcount == 1
