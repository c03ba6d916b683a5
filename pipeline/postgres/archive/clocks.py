"""Reads the clocks that decide which days are old enough to leave the archive."""

from collections.abc import Callable

from pipeline.core.log.clocks import Clocks
from pipeline.postgres.archive.connection import Connection


async def read_clocks(connection: Connection, now_us: Callable[[], int]) -> Clocks:
    """The host's (`now_us`), PostgreSQL's, and the broker's as it was at the newest record that is archived."""
    cursor = await connection.execute(
        "select (extract(epoch from clock_timestamp()) * 1000000)::bigint, "
        "(select appended_at_us from archive_offsets where moved_at is not null order by moved_at desc limit 1)"
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    postgres_us, log_us = row
    return Clocks(host_us=now_us(), postgres_us=postgres_us, log_us=log_us)
