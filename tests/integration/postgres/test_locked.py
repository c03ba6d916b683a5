"""A table that another session has locked: what needs it waits, and health says whom it waits for."""

import asyncio

import psycopg
import pytest
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.metrics import Metrics
from pipeline.postgres.pool import DatabaseUnavailable, open_pool
from pipeline.postgres.pool_watch import PoolWatch
from tests.support.eventually import eventually

SESSIONS = 4


@pytest.mark.parametrize("waiting", [1, SESSIONS], ids=["one session waits", "all sessions wait"])
async def test_a_lock_is_named_for_as_long_as_it_is_held(database: str, waiting: int) -> None:
    """Health names the session that holds it, also when all sessions of the pool wait; it is well again soon after."""
    config = DatabaseConfig(pool_size=SESSIONS, connect_timeout_s=2, statement_timeout_s=60)
    pool = await open_pool(config, SecretStr(database), name="test")
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    watching = asyncio.create_task(watch.run())

    async def change(number: int) -> None:
        async with pool.connection(timeout=60) as connection:
            await connection.execute(
                "insert into organizations (organization_id, name) values (gen_random_uuid(), %s)", (str(number),)
            )

    async with pool, asyncio.TaskGroup() as group:
        await eventually(lambda: watch.check() is None)
        with psycopg.connect(database, application_name="vacuumdb") as operator:
            operator.execute("lock table organizations in access exclusive mode")
            pid = operator.info.backend_pid
            changes = [group.create_task(change(number)) for number in range(waiting)]
            await eventually(lambda: f"a lock that session {pid} (vacuumdb) holds" in (watch.check() or ""))
            assert not any(task.done() for task in changes)
        await asyncio.gather(*changes)
        await eventually(lambda: watch.check() is None, timeout_s=5)
        watching.cancel()


async def test_a_short_wait_is_no_problem(database: str) -> None:
    """A change that waits for another one of ours, for less than a statement may take, is as usual."""
    config = DatabaseConfig(pool_size=SESSIONS, statement_timeout_s=1)
    pool = await open_pool(config, SecretStr(database), name="test")
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    watching = asyncio.create_task(watch.run())
    async with pool:
        await eventually(lambda: watch.check() is None)
        with psycopg.connect(database) as operator:
            operator.execute("lock table organizations in access exclusive mode")
            with pytest.raises(DatabaseUnavailable):
                async with pool.connection() as connection:
                    await connection.execute("select count(*) from organizations")
            assert watch.check() is None
        watching.cancel()
