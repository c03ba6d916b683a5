"""A commit waits for a synchronous standby that is away: PostgreSQL answers everything else, and that never."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import tuple_row
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.metrics import Metrics
from pipeline.postgres import migrations
from pipeline.postgres.pool import open_pool
from pipeline.postgres.pool_watch import PoolWatch
from pipeline.postgres.session import SilentServerError
from tests.integration.gateway.health import read_health
from tests.support.eventually import eventually
from tests.support.postgres import create_template
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
STANDBYS = "synchronous_standby_names"
SAID = "changes are not confirmed"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server of the test's own."""
    running = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path)
    try:
        yield running.url
    finally:
        await asyncio.to_thread(running.stop)


async def set_standbys(url: str, names: str) -> None:
    """Let commits wait for these; none of them is there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"alter system set {STANDBYS} = '{names}'".encode())
        connection.execute("select pg_reload_conf()")
    with psycopg.connect(url, autocommit=True) as connection:
        await eventually(lambda: connection.execute(f"show {STANDBYS}".encode()).fetchone() == (names,))


@asynccontextmanager
async def standbys_away(url: str) -> AsyncIterator[None]:
    """Back in any case: dropping the test's database would wait for them as well."""
    await set_standbys(url, "away")
    try:
        yield
    finally:
        await set_standbys(url, "")


async def test_a_change_is_given_up_and_said(server: str) -> None:
    """A change ends with an error, its session is free for others again, and health says so until one is confirmed."""
    await asyncio.to_thread(migrations.migrate, server)
    pool = await open_pool(DatabaseConfig(pool_size=2, statement_timeout_s=1), SecretStr(server), name="test")
    watch = PoolWatch(pool, Metrics("test"), name="test", is_for_changes=True)
    watching = asyncio.create_task(watch.run())
    async with pool:
        await eventually(lambda: watch.check() is None)
        async with standbys_away(server):
            for _ in range(3):
                with pytest.raises(SilentServerError):
                    async with pool.connection() as connection:
                        await connection.execute(
                            "insert into organizations (organization_id, name) values (gen_random_uuid(), 'a')"
                        )
            assert [(1,)] == await pool.fetch(b"select 1", (), tuple_row)
            await eventually(lambda: SAID in (watch.check() or ""))
        await eventually(lambda: watch.check() is None)
        watching.cancel()


async def test_the_processes_meanwhile(kafka: str, server: str) -> None:
    """Changes are answered by 503 and nothing else, events go on, health names the cause, a stop is in order; in the
    end each change is there at most once, and the archive has each row once."""
    with create_template(server) as template:
        names = ("gateway", "matcher", "deliver", "archive", "archive")
        async with (
            Receiver() as receiver,
            run_stack(kafka, server, template, *names, DATABASE_STATEMENT_TIMEOUT_S="3") as stack,
        ):
            space = await stack.api.make_space(TYPE)
            await stack.api.subscribe(space, receiver.url("/a"), TYPE)
            sent = [await stack.api.send(space, TYPE)]
            await stack.api.wait_for_outcomes(space, sent[0], "successful")
            async with standbys_away(server):
                bodies = [{"application_id": space.application_id, "name": f"secret {number}"} for number in range(6)]
                changing = [
                    asyncio.create_task(stack.api.call("POST", "/application_secrets", body)) for body in bodies
                ]
                sent += [await stack.api.send(space, TYPE) for _ in range(20)]
                await eventually(lambda: len(receiver.requests()) == len(sent))
                changes = await asyncio.gather(*changing)
                path = f"/application_secrets?application_id={space.application_id}"
                read = await stack.api.call("GET", path)
                await eventually(lambda: is_said(stack), timeout_s=60)
                first, second = stack.processes["archive"]
                stopped = await first.stop()
                await first.start(wait_ready=False)
            await eventually(lambda: is_well(stack), timeout_s=60)
            for event_id in sent:
                await stack.api.wait_for_outcomes(space, event_id, "successful")
            secrets = [each["name"] for each in (await stack.api.call("GET", path)).json]
            events = await stack.api.call("GET", f"/events?application_id={space.application_id}")
            assert second.is_running

    assert {(503, "ServiceUnavailable")} == {reply.problem for reply in changes}
    assert any("may have been saved" in reply.text for reply in changes)
    assert 200 == read.status
    assert 0 == stopped
    assert len(secrets) == len(set(secrets))
    assert sorted(sent) == sorted(event["event_id"] for event in events.json)
    assert len(sent) == len(receiver.requests())


async def is_said(stack: Stack) -> bool:
    gateway, archive = stack.processes["gateway"][0], stack.processes["archive"][0]
    found = [(await read_health(process)).text for process in (gateway, archive)]
    assert SAID in found[0], found[0]
    assert STANDBYS in found[1], found[1]
    return True


async def is_well(stack: Stack) -> bool:
    reports = [await read_health(process) for name in ("gateway", "archive") for process in stack.processes[name]]
    assert ["ok"] * len(reports) == [report.json["status"] for report in reports], [each.text for each in reports]
    return True
