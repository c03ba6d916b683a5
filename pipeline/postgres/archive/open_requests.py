"""Requests that deliver said are open: attempts without an outcome in the archive are shown as in progress by these."""

from pipeline.core.events.records import OpenRequests
from pipeline.postgres.pool import Pool


async def save_open_requests(pool: Pool, told: OpenRequests, *, now_us: int) -> None:
    """Keep those that may still be open, and forget those that cannot be any more."""
    requests = [each for each in told.requests if each["until_us"] > now_us]
    async with pool.connection() as connection, connection.transaction():
        await connection.execute("delete from open_requests where until_us <= %s", (now_us,))
        await connection.execute(
            "insert into open_requests select * from unnest(%s::uuid[], %s::bigint[], %s::bigint[]) "
            "on conflict (attempt_id) do update set started_at_us = excluded.started_at_us, "
            "until_us = excluded.until_us",
            tuple([each[name] for each in requests] for name in ("attempt_id", "started_at_us", "until_us")),
        )
