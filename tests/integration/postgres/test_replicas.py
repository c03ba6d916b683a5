"""Reads go to replicas in turns, as long as they are not far behind; and what pools do is measured."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.metrics import Metrics
from pipeline.postgres.databases import Databases, open_databases
from pipeline.postgres.pool import Pool
from tests.support.eventually import eventually
from tests.support.replica import run_replica


@asynccontextmanager
async def watched(config: DatabaseConfig, metrics: Metrics) -> AsyncIterator[Databases]:
    """The servers of a gateway, as it watches them."""
    databases = await open_databases(config, metrics, name="test")
    watching = asyncio.create_task(databases.watch())
    try:
        yield databases
    finally:
        watching.cancel()
        await databases.close()


async def test_replicas_are_read_in_turns_and_left_out_when_behind(tmp_path: Path) -> None:
    """A replica that does not replay, or is away, is left out; without any the primary is read; then they are back."""
    primary = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path / "primary")
    metrics = Metrics("test")

    def lag() -> float:
        return metrics.registry.get_sample_value("hookline_database_replica_lag_seconds", {"pool": "test-reads-1"}) or 0

    try:
        (tmp_path / "standby").mkdir()
        async with run_replica(primary, tmp_path / "standby") as replica:
            urls = SecretStr(replica.url), SecretStr(replica.url)
            config = DatabaseConfig(
                write_url=SecretStr(primary.url), read_urls=urls, pool_min_size=1, replica_lag_max_s=2
            )
            async with watched(config, metrics) as databases:
                await asyncio.to_thread(write, primary.url)
                turns = await eventually(lambda: list_turns(databases))
                await asyncio.to_thread(replica.execute, "select pg_wal_replay_pause()")
                await asyncio.to_thread(write, primary.url)
                await eventually(lambda: databases.reader is databases.primary, timeout_s=60)
                behind_s = lag()
                await asyncio.to_thread(replica.execute, "select pg_wal_replay_resume()")
                await eventually(lambda: databases.reader is not databases.primary, timeout_s=60)
                await eventually(lambda: lag() <= 2)  # one of the two may have been found to be well before the other
                await asyncio.to_thread(replica.stop)
                await eventually(lambda: databases.reader is databases.primary, timeout_s=60)
    finally:
        await asyncio.to_thread(primary.stop)

    assert turns[0] is turns[2] is turns[4] is not turns[1]
    assert behind_s > 2


def list_turns(databases: Databases) -> list[Pool]:
    """Pools as they are read in turns, once both replicas have been found to be well."""
    turns = [databases.reader for _ in range(6)]
    return turns if databases.primary not in turns and len(set(turns)) == 2 else []


def write(url: str) -> None:
    """Write a row that a replica has to replay."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table if not exists written (n int)")
        connection.execute("insert into written select generate_series(1, 1000)")


async def test_pools_are_bounded_and_measured(database: str) -> None:
    """A pool has as many connections as asked for; a caller that gets none in time is refused; all of it is counted."""
    metrics = Metrics("test")
    config = DatabaseConfig(write_url=SecretStr(database), pool_size=3, pool_min_size=2, pool_acquire_timeout_s=0.5)

    def read(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"hookline_database_{name}", {"pool": "test", **labels}) or 0.0

    async with watched(config, metrics) as databases, contextlib.AsyncExitStack() as held:
        await eventually(lambda: read("connections", state="idle") >= 2)
        for _ in range(3):
            await held.enter_async_context(databases.primary.connection(timeout=10))
        with pytest.raises(PoolTimeout):
            async with databases.primary.connection():
                pass
        await eventually(lambda: read("connections", state="used") == 3)
        await eventually(lambda: read("acquires_total", result="failed") >= 1)
        await eventually(lambda: read("acquire_wait_seconds_total") > 0)

    assert read("acquires_total", result="at_once") >= 2
