"""How many events applications sent on a day (of the broker's append time, UTC), counted in the archive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from psycopg.rows import class_row, tuple_row

from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """Events of one application on one day."""

    application_id: str
    application_name: str
    day: date
    amount: int


async def count_events_by_day(
    pool: Pool, *, first: date, last: date, organization_id: str | None = None, application_id: str | None = None
) -> list[DayCount]:
    """Days with events between `first` and `last`, both included; of one application, or of an organization's."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(DayCount)) as cursor:
        await cursor.execute(
            "select a.application_id::text, a.name as application_name, e.day, count(*) as amount "
            "from applications a join events e using (application_id) "
            "where (%(application_id)s::uuid is null or a.application_id = %(application_id)s) "
            "and (%(organization_id)s::uuid is null or a.organization_id = %(organization_id)s) "
            "and a.deleted_at is null and e.day between %(first)s and %(last)s "
            "group by a.application_id, a.name, e.day order by e.day, a.name, a.application_id",
            {"application_id": application_id, "organization_id": organization_id, "first": first, "last": last},
        )
        return await cursor.fetchall()


async def count_events_on(pool: Pool, day: date, application_ids: Sequence[str]) -> int:
    """All events of these applications on a day."""
    (row,) = await pool.fetch(
        b"select count(*) from events where application_id = any(%s) and day = %s",
        (list(application_ids), day),
        tuple_row,
    )
    return int(row[0])
