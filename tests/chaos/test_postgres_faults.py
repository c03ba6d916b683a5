"""A PostgreSQL in trouble beneath a whole installation: what its disk, its operators and its poolers may do to it.

Each fault is printed with its figures. In the end all that was accepted was delivered and archived once. As root: a
file system is mounted.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.chaos.postgres_faults import run_installation
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.pace import paced
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer

BACK_S = 90.0
DISK_MIB = 200
CHUNK_BYTES = 65_536
OURS = "from pg_stat_activity where application_name like 'hookline%' and pid <> pg_backend_pid()"
END_ALL = f"select pg_terminate_backend(pid) {OURS}"
INDEXES = "select indexrelid::regclass::text from pg_index where indpred is null and indrelid = '{}'::regclass"
# An operator is not to be kept out by what is set here.
FREE = "-c default_transaction_read_only=off -c statement_timeout=0 -c transaction_timeout=0 -c idle_session_timeout=0"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A server of the test's own."""
    async with PostgresServer(tmp_path / "postgres") as running:
        yield running


async def wait_answers(server: PostgresServer) -> None:
    """Wait until the server takes a change."""

    async def answers() -> bool:
        try:
            await server.execute("create table probe ()", "drop table probe")
        except psycopg.OperationalError as error:
            raise AssertionError(str(error)) from error
        return True

    await eventually(answers, timeout_s=BACK_S)


@contextmanager
def small_disk(server: PostgresServer, place: Path) -> Iterator[Path]:
    """Give the write-ahead log of a server that is stopped a file system of its own."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(place)], check=True)
    try:
        log, moved = server.data / "pg_wal", place / "pg_wal"
        owner = log.stat()
        shutil.copytree(log, moved)
        for each in (place, moved, *moved.rglob("*")):
            os.chown(each, owner.st_uid, owner.st_gid)
        shutil.rmtree(log)
        log.symlink_to(moved)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(CHUNK_BYTES))


async def write_until_full(server: PostgresServer) -> None:
    """Write to the write-ahead log, of which a slot without a reader keeps everything."""
    with contextlib.suppress(psycopg.OperationalError):
        await server.execute("select pg_create_physical_replication_slot('left', true)")
        for _ in range(DISK_MIB):
            await server.execute("select pg_logical_emit_message(false, 'filler', repeat('x', 4000000))")


async def test_a_full_disk_of_the_write_ahead_log(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """PostgreSQL panics and ends at each start, which a service manager repeats, until there is room."""
    await server.execute("alter system set max_wal_size = '64MB'", "alter system set min_wal_size = '32MB'")
    await server.stop()
    with small_disk(server, tmp_path / "wal") as disk:
        await server.start()
        try:
            async with run_installation(kafka, server, tmp_path / "journal") as installation, server.keep():
                for _ in range(2):
                    with installation.fault("pg_wal is full") as fault:
                        await asyncio.to_thread(fill, disk / "filler")
                        await write_until_full(server)
                        fault.notes.append(f"full after {time.monotonic() - fault.begun_s:.1f} s")
                        await installation.load.go_on(25)
                        (disk / "filler").unlink()
                        await wait_answers(server)
                        fault.cure()
                        await server.execute("select pg_drop_replication_slot('left')", "checkpoint")
                        fault.notes.append(f"{server.starts} starts")
                    await installation.get_well(fault)
                assert "No space left on device" in server.log
        finally:
            await server.stop()  # before its disk is gone


async def list_tables(server: PostgresServer, database: str) -> tuple[list[str], list[str]]:
    """Tables of the control plane and of the archive's positions; partitions of today."""
    every = (
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace "
        "where n.nspname = 'public' and relkind = 'r' and "
    )
    found = [
        await server.execute(f"{every} {which} order by 1", database=database)
        for which in (
            "not relispartition",
            "relispartition and relname like '%' || to_char(now() at time zone 'utc', 'YYYYMMDD') || '%'",
        )
    ]
    tables, today = ([str(name) for (name,) in rows] for rows in found)
    return tables, today


async def test_work_of_operators(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """Every table is written anew, then locked as by a move to another tablespace."""
    async with run_installation(kafka, server, tmp_path / "journal") as installation:
        url = installation.stack.database_url
        tables, today = await list_tables(server, url)
        with installation.fault("vacuum full, cluster and reindex of everything, three times") as fault:
            for _ in range(3):
                for table in tables + today:
                    await server.execute(f"vacuum full {table}", f"reindex table {table}", database=url)
                for table in today:
                    index = await server.execute(INDEXES.format(table), database=url)
                    await server.execute(f"cluster {table} using {index[0][0]}", database=url)
            await server.execute("reindex schema public", database=url)
        await installation.get_well(fault)
        for what, some in (("control plane", tables), ("archive", today)):
            with installation.fault(f"tables of the {what} locked for 40 s") as fault:
                async with await psycopg.AsyncConnection.connect(url, application_name="operator") as connection:
                    await connection.execute(f"lock table {', '.join(some)} in access exclusive mode".encode())
                    await installation.load.go_on(40)
            await installation.get_well(fault)
            reds = installation.watch.list_said(fault.begun_s, fault.over_s)
            assert "postgres" in reds["archive"]
            assert what == "archive" or "postgres" in reds["gateway"]


async def test_sessions_that_are_ended_and_cancelled(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """All of them, or one at random, again and again for 30 s."""
    async with run_installation(kafka, server, tmp_path / "journal") as installation:
        for what, interval_s, which in (
            ("pg_terminate_backend", 0.2, ""),
            ("pg_terminate_backend", 2.0, ""),
            ("pg_terminate_backend", 0.02, "order by random() limit 1"),
            ("pg_cancel_backend", 0.02, ""),
            ("pg_cancel_backend", 0.05, "and state = 'active' order by random() limit 1"),
        ):
            with installation.fault(f"{what} every {interval_s} s {which}") as fault:
                until_s = time.monotonic() + 30
                async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as connection:
                    async for _ in paced(interval_s, skips_missed=True):
                        if time.monotonic() > until_s:
                            break
                        query = f"select {what}(pid) from (select pid {OURS} {which}) as chosen"  # noqa: S608 - our own words
                        await connection.execute(query.encode())
            await installation.get_well(fault)


SETTINGS = (
    ("default_transaction_read_only", "on"),
    ("idle_session_timeout", "100ms"),
    ("idle_in_transaction_session_timeout", "10ms"),
    ("client_connection_check_interval", "10ms"),
    ("statement_timeout", "1ms"),
    ("lock_timeout", "1ms"),
    ("transaction_timeout", "100ms"),
    ("temp_file_limit", "0"),
    ("search_path", "nowhere"),
    ("tcp_user_timeout", "1"),
    ("deadlock_timeout", "1ms"),
    ("commit_delay", "100000"),
    ("session_replication_role", "replica"),
    ("restrict_nonsystem_relation_kind", "view"),
    ("authentication_timeout", "1s"),
    ("max_connections", "12"),
)
NEED_RESTART = ("max_connections",)


async def put_back(server: PostgresServer, name: str) -> bool:
    if name in NEED_RESTART:  # no session may be left for an operator
        await server.stop()
        file = server.data / "postgresql.auto.conf"
        kept = [line for line in file.read_text().splitlines() if not line.startswith(name)]
        file.write_text("".join(f"{line}\n" for line in kept))
        await server.start()
        return True
    try:
        connection = await psycopg.AsyncConnection.connect(server.url, autocommit=True, options=FREE)
        async with connection:
            await connection.execute(f"alter system reset {name}".encode())
            await connection.execute(b"select pg_reload_conf()")
    except psycopg.Error as error:
        raise AssertionError(str(error)) from error
    return True


async def test_settings_that_hurt(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """`alter system` and a reload, or a restart: for the sessions that are open, and for those opened under it."""
    async with run_installation(kafka, server, tmp_path / "journal") as installation:
        for name, value in SETTINGS:
            with installation.fault(f"{name} = {value}") as fault:
                await server.execute(f"alter system set {name} = '{value}'", "select pg_reload_conf()")
                if name in NEED_RESTART:
                    await server.stop()
                    await server.start()
                await installation.load.go_on(4)
                with contextlib.suppress(psycopg.Error):
                    await server.execute(END_ALL)
                await installation.load.go_on(4)
                await eventually(lambda name=name: put_back(server, name), timeout_s=BACK_S)  # type: ignore[misc]
            await installation.get_well(fault)


async def test_what_keeps_old_rows(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """A slot that no standby reads, and a session that idles in a transaction: all goes on, and commands say so."""
    async with run_installation(kafka, server, tmp_path / "journal") as installation:
        url, environ = installation.stack.database_url, installation.stack.environ
        with installation.fault("a slot without a reader, and a transaction left open for 60 s") as fault:
            await server.execute("select pg_create_physical_replication_slot('left', true)")
            async with await psycopg.AsyncConnection.connect(url, application_name="left open") as connection:
                await connection.execute(b"set transaction isolation level repeatable read")
                await connection.execute(b"select txid_current(), count(*) from subscriptions")
                await installation.load.go_on(50)
                await server.execute("vacuum", database=url)
                codes = []
                for command in (("migrate",), ("db", "report")):
                    ended = await run_hookline(*command, environ=environ)
                    fault.notes.append(f"{' '.join(command)}: {ended.code} {ended.out[-1500:]}{ended.err[-500:]}")
                    codes.append(ended.code)
            await server.execute("select pg_drop_replication_slot('left')")
        await installation.get_well(fault)

    assert [0, 0] == codes


async def order(pooler: PgBouncer, command: str) -> None:
    """Give an order, which may wait for as long as sessions are open; or the pooler is not as the order wants it."""
    with contextlib.suppress(TimeoutError, AssertionError):
        async with asyncio.timeout(20):
            await pooler.execute(command)


ORDERS = (
    ("reconnect", None),
    ("pause", "resume"),
    ("disable {}", "enable {}"),
    ("kill {}", "resume {}"),
    ("reload", None),
)


async def test_orders_to_a_pooler(kafka: str, server: PostgresServer, tmp_path: Path) -> None:
    """Each order of PgBouncer's console, without and with an end of all sessions meanwhile; and both kinds of end."""
    async with (
        PgBouncer(server.url, {"pool_mode": "session", "default_pool_size": 60}) as pooler,
        run_installation(kafka, server, tmp_path / "journal", database_at=pooler.address) as installation,
    ):
        name = installation.stack.database_url.rpartition("/")[2]
        for first, then in ORDERS:
            for are_ended in (False, True):
                with installation.fault(f"{first}, sessions ended: {are_ended}") as fault:
                    given = asyncio.create_task(order(pooler, first.format(name)))
                    await installation.load.go_on(3)
                    if are_ended:
                        await server.execute(END_ALL)
                    await installation.load.go_on(12)
                    if then is not None:
                        await order(pooler, then.format(name))
                    fault.cure()
                    await given
                await installation.get_well(fault)
        for sent in (signal.SIGTERM, signal.SIGINT):
            with installation.fault(f"{sent.name} to PgBouncer, started again after 15 s") as fault:
                pooler.send(sent)
                await installation.load.go_on(15)
                fault.notes.append(f"it has ended: {not pooler.is_running}")
                await pooler.stop()
                await pooler.start()
            await installation.get_well(fault)
