"""Every application's place in the log by the database, for comparison with the log."""

from dataclasses import dataclass

from psycopg.rows import class_row

from pipeline.postgres.control.publications import LogState
from pipeline.postgres.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationState:
    """An application's newest version, and the one that was published last."""

    application_id: str
    routes_version: int
    change_id: str
    published_version: int
    published_change_id: str

    @property
    def routes(self) -> LogState:
        return LogState(version=self.routes_version, change_id=self.change_id)

    @property
    def published(self) -> LogState:
        return LogState(version=self.published_version, change_id=self.published_change_id)


async def read_identity(pool: Pool) -> tuple[str, int] | None:
    """Which database this is, and its epoch. None: it is none that configures anything, or is being restored."""
    async with pool.connection() as connection:
        cursor = await connection.execute("select control_plane_id::text, epoch from control_plane")
        row = await cursor.fetchone()
    return (str(row[0]), int(row[1])) if row is not None else None


async def raise_epoch(pool: Pool) -> int:
    """The log is brought in line with this database once more; the new epoch."""
    async with pool.connection() as connection:
        cursor = await connection.execute("update control_plane set epoch = epoch + 1 returning epoch")
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - callers have read its identity
    return int(row[0])


async def list_states(pool: Pool) -> list[ApplicationState]:
    """Every application's, deleted ones too."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(ApplicationState)) as cursor:
        await cursor.execute(
            "select application_id::text, routes_version, change_id::text, published_version, "
            "coalesce(published_change_id::text, '') as published_change_id from applications"
        )
        return await cursor.fetchall()
