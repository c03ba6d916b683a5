"""Retry schedules: named delays, which subscriptions of the same application can refer to.

Every change is made under the lock of `raise_version`, as those of subscriptions are: none can begin to refer to a
schedule while it is deleted. A changed schedule is published with the endpoints of the subscriptions that refer to it.
"""

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection, Rollback
from psycopg.rows import TupleRow, class_row

from pipeline.postgres.control.applications import raise_version
from pipeline.postgres.pool import Pool
from pipeline.postgres.rows import fetch_rows

COLUMNS = "retry_schedule_id::text, application_id::text, name, retry_delays_s, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySchedule:
    """One schedule. `retry_delays_s`: seconds after the n-th failure; as many retries as there are delays."""

    retry_schedule_id: str
    application_id: str
    name: str
    retry_delays_s: list[float]
    created_at: datetime
    updated_at: datetime


class UsedError(Exception):
    """Subscriptions refer to the schedule; `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class ScheduleChangedError(Exception):
    """The schedule is not as its caller read it."""


async def create_schedule(pool: Pool, schedule: RetrySchedule, *, schedules_max: int) -> bool | None:
    """Create a schedule: True; None: there is no such application; False: it has `schedules_max` already."""
    async with pool.connection() as connection, connection.transaction():
        if await raise_version(connection, schedule.application_id) is None:
            return None
        cursor = await connection.execute(
            "select count(*) from retry_schedules where application_id = %s", (schedule.application_id,)
        )
        row = await cursor.fetchone()
        if row is not None and row[0] >= schedules_max:
            raise Rollback  # leaves the block: nothing has changed, so that there is nothing to be published
        await connection.execute(
            "insert into retry_schedules (retry_schedule_id, application_id, name, retry_delays_s, created_at, "
            "updated_at) values (%s, %s, %s, %s, %s, %s)",
            (
                schedule.retry_schedule_id,
                schedule.application_id,
                schedule.name,
                schedule.retry_delays_s,
                schedule.created_at,
                schedule.updated_at,
            ),
        )
        return True
    return False


async def list_schedules(pool: Pool, application_id: str) -> list[RetrySchedule]:
    """Schedules of an application, oldest first."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(RetrySchedule)) as cursor:
        await cursor.execute(
            f"select {COLUMNS} from retry_schedules where application_id = %s "  # noqa: S608 - our own column names
            "order by created_at, retry_schedule_id",
            (application_id,),
        )
        return await fetch_rows(cursor)


async def find_schedule(pool: Pool, application_id: str, retry_schedule_id: str) -> RetrySchedule | None:
    """The schedule; None: the application has no such one."""
    async with pool.connection() as connection:
        return await _find(connection, application_id, retry_schedule_id)


async def replace_schedule(
    pool: Pool,
    application_id: str,
    retry_schedule_id: str,
    *,
    name: str,
    retry_delays_s: list[float],
    was: RetrySchedule | None = None,
) -> RetrySchedule | None:
    """Replace name and delays; None: the application has no such schedule.

    `was`: only while it has this name and these delays; raises `ScheduleChangedError`.
    """
    async with pool.connection() as connection, connection.transaction():
        version = await raise_version(connection, application_id)
        present = await _find(connection, application_id, retry_schedule_id)
        if version is None or present is None:
            return None
        if was is not None and (was.name, was.retry_delays_s) != (present.name, present.retry_delays_s):
            raise ScheduleChangedError
        await connection.execute(
            "update retry_schedules set name = %s, retry_delays_s = %s, updated_at = now() "
            "where retry_schedule_id = %s",
            (name, retry_delays_s, retry_schedule_id),
        )
        if retry_delays_s != present.retry_delays_s:
            await connection.execute(
                "update subscriptions set changed_version = %s where retry_schedule_id = %s and deleted_at is null",
                (version, retry_schedule_id),
            )
        return await _find(connection, application_id, retry_schedule_id)


async def delete_schedule(pool: Pool, application_id: str, retry_schedule_id: str) -> bool:
    """Delete a schedule. False: the application has no such one. Raises `UsedError`."""
    async with pool.connection() as connection, connection.transaction():
        await raise_version(connection, application_id)
        if await _find(connection, application_id, retry_schedule_id) is None:
            return False
        cursor = await connection.execute(
            "select count(*) from subscriptions where retry_schedule_id = %s and deleted_at is null",
            (retry_schedule_id,),
        )
        row = await cursor.fetchone()
        if row is not None and row[0]:
            raise UsedError(row[0])
        await connection.execute(
            "update subscriptions set retry_schedule_id = null where retry_schedule_id = %s", (retry_schedule_id,)
        )
        await connection.execute("delete from retry_schedules where retry_schedule_id = %s", (retry_schedule_id,))
        return True


async def has_schedule(connection: AsyncConnection[TupleRow], application_id: str, retry_schedule_id: str) -> bool:
    """Does the application have this schedule? In the transaction that makes a subscription refer to it."""
    return await _find(connection, application_id, retry_schedule_id) is not None


async def _find(
    connection: AsyncConnection[TupleRow], application_id: str, retry_schedule_id: str
) -> RetrySchedule | None:
    async with connection.cursor(row_factory=class_row(RetrySchedule)) as cursor:
        await cursor.execute(
            f"select {COLUMNS} from retry_schedules where application_id = %s and retry_schedule_id = %s",  # noqa: S608 - our own column names
            (application_id, retry_schedule_id),
        )
        return await cursor.fetchone()
