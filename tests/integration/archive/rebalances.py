"""Two archive processes that take partitions from each other while PostgreSQL is slow: short in the integration tests,
long in tests/chaos."""

import asyncio
import threading

import psycopg

from tests.integration.archive.archive_site import ArchiveSite, Load
from tests.integration.archive.tables import read_offsets
from tests.support.eventually import eventually

EVENTS_AT_ONCE = 10
PAUSE_S = 0.1


def slow_down(database: str, batch_s: float) -> None:
    """Make every transaction of the archive take so long."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "create or replace function slow_down() returns trigger language plpgsql as "
            f"$$ begin perform pg_sleep({batch_s}); return null; end $$".encode()
        )
        connection.execute(
            "create trigger slow_down after update of next_offset on archive_offsets "
            "for each statement execute function slow_down()"
        )


def read_progress(database: str) -> int:
    """Grows with every batch."""
    return sum(read_offsets(database).values())


async def rebalance_under_load(
    site: ArchiveSite, *, rebalances: int, batch_s: float, grace_s: float
) -> tuple[Load, int]:
    """Rebalance under load; return the acknowledged records, and how many batches a rebalance cancelled.

    Rebalances go on, up to three times as many, while none has met a batch that lasted longer than `grace_s` after it.
    """
    ended = threading.Event()
    load = Load()

    def write_all_the_time() -> None:
        while not ended.wait(PAUSE_S):
            load.add(site.load(EVENTS_AT_ONCE))

    first, second = (site.archive(WORKER_REBALANCE_GRACE_S=str(grace_s), ARCHIVE_LINGER_S="0") for _ in range(2))

    def count_cancelled() -> int:
        return sum(process.log().count("drain_timed_out") for process in (first, second) if process.log_path.exists())

    slow_down(site.database, batch_s)
    async with first:
        writing = asyncio.create_task(asyncio.to_thread(write_all_the_time))
        try:
            await eventually(lambda: read_progress(site.database) > 0, timeout_s=120)
            for done in range(1, 3 * rebalances + 1):
                if done > rebalances and count_cancelled():
                    break
                # joined: the first one gives half of its partitions away; left: it gets them back
                if done % 2:
                    await second.start()
                else:
                    await second.stop()
                written = read_progress(site.database)
                await eventually(lambda before=written: read_progress(site.database) > before, timeout_s=120)  # type: ignore[misc]
        finally:
            ended.set()
            await writing
            if second.is_running:
                await second.stop()
        with psycopg.connect(site.database, autocommit=True) as connection:
            connection.execute("drop trigger slow_down on archive_offsets")
        await site.wait_until_archived(load, timeout_s=120)
    return load, count_cancelled()
