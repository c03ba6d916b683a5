"""Quotas of organizations where they differ from the instance's."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import LiteralString

from psycopg.rows import class_row

from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationQuotas:
    """The quotas of an organization; None: the instance's value."""

    members_per_organization: int | None = None
    applications_per_organization: int | None = None
    events_per_day: int | None = None
    event_types_per_application: int | None = None


SELECT: LiteralString = (
    "select members_per_organization, applications_per_organization, events_per_day, event_types_per_application "
    "from organization_quotas "
)
AS_THE_INSTANCE = OrganizationQuotas()


async def find_quotas(pool: Pool, organization_id: str) -> OrganizationQuotas:
    """Find the quotas of an organization."""
    return await _find(pool, SELECT + "where organization_id = %s", organization_id)


async def find_quotas_of_application(pool: Pool, application_id: str) -> OrganizationQuotas:
    """Find the quotas of an application's organization."""
    return await _find(
        pool, SELECT + "join applications using (organization_id) where application_id = %s", application_id
    )


async def change_quotas(
    pool: Pool, organization_id: str, quotas: OrganizationQuotas, *, was: OrganizationQuotas | None = None
) -> bool:
    """Change quotas. False: there is no such organization, or its quotas are not `was` any more."""
    async with pool.connection() as connection, connection.transaction():
        # its row is locked: there may be none of quotas yet
        await connection.execute(
            "select from organizations where organization_id = %s for no key update", (organization_id,)
        )
        if was is not None:
            async with connection.cursor(row_factory=class_row(OrganizationQuotas)) as present:
                await present.execute(SELECT + "where organization_id = %s", (organization_id,))
                if was != (await present.fetchone() or AS_THE_INSTANCE):
                    return False
        cursor = await connection.execute(
            "insert into organization_quotas (organization_id, members_per_organization, "
            "applications_per_organization, events_per_day, event_types_per_application) "
            "select organization_id, %(members_per_organization)s, %(applications_per_organization)s, "
            "%(events_per_day)s, %(event_types_per_application)s from organizations "
            "where organization_id = %(organization_id)s and deleted_at is null "
            "on conflict (organization_id) do update set members_per_organization = excluded.members_per_organization, "
            "applications_per_organization = excluded.applications_per_organization, "
            "events_per_day = excluded.events_per_day, "
            "event_types_per_application = excluded.event_types_per_application",
            asdict(quotas) | {"organization_id": organization_id},
        )
        return cursor.rowcount == 1


async def read_daily_limits(pool: Pool, application_ids: Sequence[str]) -> dict[str, int]:
    """Events a day, by application, for applications whose organization has its own limit."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select application_id::text, events_per_day from applications join organization_quotas "
            "using (organization_id) where application_id = any(%s::uuid[]) and events_per_day is not null",
            (list(application_ids),),
        )
        return {str(application_id): int(limit) for application_id, limit in await cursor.fetchall()}


async def _find(pool: Pool, query: LiteralString, wanted: str) -> OrganizationQuotas:
    found = await pool.fetch(query.encode(), (wanted,), class_row(OrganizationQuotas))
    return found[0] if found else AS_THE_INSTANCE
