"""PgBouncer between every process and PostgreSQL: in session mode all works, in another one no process starts."""

import os
import select
import socket

import psycopg
import pytest
from psycopg.rows import TupleRow, tuple_row
from pydantic import SecretStr

from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.connection import open_archive_connection
from pipeline.postgres.pool import open_pool
from tests.integration.gateway.health import read_health
from tests.integration.postgres.test_session import TEXT
from tests.support.api import Space
from tests.support.commands import run_hookline, run_ledger
from tests.support.eventually import eventually
from tests.support.pgbouncer import PgBouncer
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

TYPE = "billing.invoice.paid"
PROCESSES = ("gateway", "matcher", "deliver", "archive")
SHARED = "pool_mode = session"


async def test_session_mode(kafka: str, postgres: str, migrated_template: str) -> None:
    """The whole way of an event, changes, reads, an export and the commands; PgBouncer ends in the middle of it."""
    async with (
        PgBouncer(postgres, {"pool_mode": "session", "default_pool_size": 60}) as pooler,
        Receiver() as receiver,
        run_stack(kafka, postgres, migrated_template, *PROCESSES, database_at=pooler.address) as stack,
    ):
        space = await stack.api.make_space(TYPE)
        made = await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        sent = [await stack.api.send(space, TYPE) for _ in range(20)]
        await stack.api.wait_for_outcomes(space, sent[0], "successful")
        await pooler.stop()
        sent += [await stack.api.send(space, TYPE) for _ in range(20)]
        await eventually(lambda: len(receiver.requests()) == len(sent))
        await pooler.start()
        await eventually(lambda: are_archived(stack, space, sent), timeout_s=60)
        await stack.api.wait_for_outcomes(space, sent[-1], "successful")
        await eventually(lambda: is_well(stack), timeout_s=60)
        path = f"/subscriptions/{made['subscription_id']}?application_id={space.application_id}"
        changes = [await stack.api.call("DELETE", path), await stack.api.call("GET", "/audit_log")]
        report = await run_hookline("db", "report", "--json", environ=stack.environ)
        migrated = await run_hookline("migrate", environ=stack.environ)
        code, ledger = await run_ledger(stack)

    assert [204, 200] == [reply.status for reply in changes]
    assert (0, 0, 0) == (report.code, migrated.code, code), ledger
    assert "nothing to do" in migrated.out


async def are_archived(stack: Stack, space: Space, sent: list[str]) -> bool:
    reply = await stack.api.call("GET", f"/events?application_id={space.application_id}", token=space.secret)
    return reply.status == 200 and {event["event_id"] for event in reply.json} == set(sent)


async def is_well(stack: Stack) -> bool:
    reports = [await read_health(process) for name in ("gateway", "archive") for process in stack.processes[name]]
    assert ["ok"] * len(reports) == [report.json["status"] for report in reports], [each.text for each in reports]
    return True


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_shares_sessions_is_refused(
    kafka: str, postgres: str, migrated_template: str, mode: str
) -> None:
    """One sentence says what to set, of the processes and of the commands, whatever connection is free."""
    async with (
        PgBouncer(postgres, {"pool_mode": mode, "min_pool_size": 5, "server_round_robin": 1}) as pooler,
        run_stack(kafka, postgres, migrated_template) as stack,
    ):
        environ = stack.environ | {"HOOKLINE_DATABASE_WRITE_URL": pooler.lead(stack.database_url)}
        ended = [await run_hookline(*words, environ=environ) for words in (("gateway",), ("archive",), ("migrate",))]

    assert [2, 2, 2] == [each.code for each in ended], ended
    assert all(SHARED in each.out + each.err for each in ended), ended


@pytest.mark.parametrize("is_bare", [False, True])
async def test_sessions_have_our_settings(odd_database: str, is_bare: bool) -> None:
    """Defaults of a database do no harm, also where PgBouncer is told to drop the options of connections."""
    settings = {"pool_mode": "session", "ignore_startup_parameters": "options"}
    async with PgBouncer(odd_database, settings) as pooler:
        url = SecretStr(pooler.lead(odd_database))
        pool = await open_pool(DatabaseConfig(pool_size=2), url, name="test", is_bare=is_bare)
        async with pool:
            found = await pool.fetch(b"select %s::text, current_setting('TimeZone')", (TEXT,), tuple_row)
        async with await open_archive_connection(DatabaseConfig(write_url=url)) as connection:
            isolation = await (await connection.execute("show transaction_isolation")).fetchone()

    assert [(TEXT, "UTC")] == found
    assert ("read committed",) == isolation


END_ALL = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid()"
)


async def test_an_archive_whose_session_was_ended(database: str) -> None:
    """PgBouncer says what the server did, and more besides: to the archive that is an outage, which it sits out."""
    async with PgBouncer(database, {"pool_mode": "session"}) as pooler:
        config = DatabaseConfig(write_url=SecretStr(pooler.lead(database)))
        async with await open_archive_connection(config) as connection:
            end_sessions(database)
            await eventually(lambda: is_at_its_end(connection))
            with pytest.raises(psycopg.OperationalError):
                async with connection.transaction():
                    pass

            assert connection.broken


@pytest.mark.parametrize("is_bare", [False, True])
async def test_requests_whose_sessions_were_ended(database: str, is_bare: bool) -> None:
    """A look-up behind PgBouncer has another session."""
    async with PgBouncer(database, {"pool_mode": "session"}) as pooler:
        url = SecretStr(pooler.lead(database))
        pool = await open_pool(DatabaseConfig(pool_size=1), url, name="test", is_bare=is_bare)
        async with pool:
            async with pool.connection() as connection:
                pass
            end_sessions(database)
            await eventually(lambda: is_at_its_end(connection))

            assert [(1,)] == await pool.fetch(b"select 1", (), tuple_row)


def end_sessions(database: str) -> None:
    with psycopg.connect(database) as operator:
        operator.execute(END_ALL)


def is_at_its_end(connection: psycopg.AsyncConnection[TupleRow]) -> bool:
    """Has all been received that will be? Nothing of it is read."""
    if connection.closed:
        return True
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        received = peer.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT) if is_readable(peer) else b""
    return received.count(b"FATAL") > 1


def is_readable(peer: socket.socket) -> bool:
    return bool(select.select([peer], [], [], 0)[0])
