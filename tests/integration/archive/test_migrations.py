"""The SQL files on a real PostgreSQL: forwards, again, backwards; and what the code says about the tables."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree, ignore_patterns
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr
from yoyo import get_backend, read_migrations

from pipeline.config import DatabaseConfig
from pipeline.postgres import migrations
from pipeline.postgres.archive.connection import open_archive_connection, open_long_connection
from pipeline.postgres.archive.dead_letters import redrive_alone
from pipeline.postgres.archive.ledger_counts import try_watch_lock
from pipeline.postgres.archive.partitions import ensure_days, lock_partitions
from pipeline.postgres.archive.tables import TABLES, ArchiveTable
from pipeline.postgres.pool import open_pool
from pipeline.postgres.server_report import read_report
from pipeline.start_error import StartError
from tests.support.eventually import eventually
from tests.support.postgres import ODD_DEFAULTS, drop_database, rename_database, set_defaults
from tests.support.processes import ROOT, select_environ

# changes a table of the archive
ALTERING = "0243.dead_letter_headers"
# makes an index concurrently
CONCURRENT = "0260.present_subscriptions"
TABLE_NAMES = [table.name for table in TABLES]


def describe(database: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Table → its columns: name, type, may it be null; without the migrations' own tables."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull from pg_attribute a "
            "join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'public' and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped "
            "and c.relname not like '%yoyo%' order by c.relname, a.attnum"
        ).fetchall()
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for table, column, kind, nullable in rows:
        found.setdefault(table, []).append((column, kind, nullable))
    return found


def test_up_and_down_and_up(empty_database: str) -> None:
    """All is applied once; rolled back, nothing is left; applied again, all is as before."""
    names = migrations.migrate(empty_database)
    first = describe(empty_database)
    assert len(names) >= 2
    assert {"events", "attempts", "applications", "archive_offsets"} <= first.keys()
    assert [] == migrations.migrate(empty_database)

    roll_back(empty_database)
    assert {} == describe(empty_database)
    assert names == migrations.plan(empty_database)
    assert names == migrations.migrate(empty_database)
    assert first == describe(empty_database)


def roll_back(database: str, *, first: str = "") -> None:
    """Roll back all from `first` on."""
    backend = get_backend(database.replace("postgresql://", "postgresql+psycopg://"))
    with as_file(files("pipeline.postgres").joinpath("sql")) as folder, backend.lock():
        applied = backend.to_rollback(read_migrations(str(folder)))
        backend.rollback_migrations([migration for migration in applied if migration.id >= first])
    backend.connection.close()


async def test_an_index_is_made_while_rows_are_written(empty_database: str, tmp_path: Path) -> None:
    """A migration outside a transaction makes an index concurrently: it waits for writers, and they do not for it."""
    (tmp_path / "1.table.sql").write_text("create table t (a int);")
    (tmp_path / "2.index.sql").write_text(
        "-- depends: 1.table\n-- transactional: false\ncreate index concurrently t_a on t (a);"
    )
    backend = get_backend(empty_database.replace("postgresql://", "postgresql+psycopg://"))
    table, index = read_migrations(str(tmp_path))
    backend.apply_one(table)
    find = "select indisvalid from pg_index where indrelid = 't'::regclass"
    with psycopg.connect(empty_database) as early, psycopg.connect(empty_database, autocommit=True) as late:
        early.execute("insert into t values (1)")
        making = asyncio.create_task(asyncio.to_thread(backend.apply_one, index))
        await eventually(lambda: late.execute(find).fetchone() == (False,))
        late.execute("insert into t values (2)")
        early.commit()
        await making

        assert (True,) == late.execute(find).fetchone()
    backend.connection.close()


async def test_processes_that_wait_for_a_migration_do_not_hold_it_up(empty_database: str) -> None:
    """An index made concurrently waits for all that read: others that want to migrate, or change partitions, do not."""
    await asyncio.to_thread(migrations.migrate, empty_database)
    roll_back(empty_database, first=CONCURRENT)
    config = DatabaseConfig(write_url=SecretStr(empty_database))
    async with await open_archive_connection(config) as dividing:
        with psycopg.connect(empty_database) as writing:
            writing.execute("delete from subscriptions")  # holds the index up until it is committed
            migrating = [asyncio.create_task(asyncio.to_thread(migrations.migrate, empty_database)) for _ in range(2)]
            await eventually(lambda: count_waiting(empty_database) > 0)
            days = asyncio.create_task(ensure_days(dividing, [date(2026, 1, 2)]))
            await eventually(lambda: count_statements(empty_database, "%pg_try_advisory_xact_lock%") > 2)
            assert not days.done()
        async with asyncio.timeout(30):
            names = await asyncio.gather(*migrating)
            assert "events_20260102" in await days

    assert CONCURRENT in names[0] + names[1]
    assert [] == migrations.plan(empty_database)


def count_statements(database: str, pattern: str) -> int:
    """How many sessions' last statement is like `pattern`."""
    with psycopg.connect(database) as connection:
        query = "select count(*) from pg_stat_activity where datname = current_database() and query like %s"
        (count,) = connection.execute(query, (pattern,)).fetchone() or (0,)
    return int(count)


async def test_many_at_once(empty_database: str) -> None:
    """Processes that are deployed together may all migrate: one does it, the others find it done."""
    done = await asyncio.gather(*(asyncio.to_thread(migrations.migrate, empty_database) for _ in range(4)))

    assert [migrations.plan(empty_database), 1] == [[], sum(bool(names) for names in done)]
    migrations.verify(empty_database)


async def test_a_long_read_keeps_no_other_waiting(database: str) -> None:
    """A migration that waits for one, such as a dump, gives way to reads that came after it, and is made in the end."""
    roll_back(database, first=ALTERING)
    with psycopg.connect(database) as reading:
        reading.execute("select from dead_letters")
        migrating = asyncio.create_task(asyncio.to_thread(migrations.migrate, database))
        await eventually(lambda: count_waiting(database) > 0)
        found = await asyncio.to_thread(read_in_time, database)
        assert not migrating.done()
    names = await migrating

    assert [] == found
    assert ALTERING in names
    assert [] == migrations.plan(database)


def count_waiting(database: str) -> int:
    with psycopg.connect(database) as connection:
        query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        (count,) = connection.execute(query).fetchone() or (0,)
    return int(count)


def read_in_time(database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database) as connection:
        connection.execute("set statement_timeout = '60s'")
        return connection.execute("select dead_id from dead_letters").fetchall()


async def test_what_is_in_the_way_is_named(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that never gets its lock ends with one sentence, and leaves everything as it was."""
    monkeypatch.setattr(migrations, "GIVE_UP_AFTER_S", 0.0)
    roll_back(database, first=ALTERING)
    before = describe(database)
    with psycopg.connect(database, application_name="pg_dump") as reading:
        reading.execute("select from dead_letters")
        with pytest.raises(StartError, match=rf"pg_dump \(pid {reading.info.backend_pid}\).*`hookline migrate` again"):
            await asyncio.to_thread(migrations.migrate, database)

    assert before == describe(database)
    assert ALTERING in migrations.migrate(database)


async def test_defaults_of_a_role_harm_no_migration(empty_database: str) -> None:
    """Sessions with odd settings, which do not write unless they say so, migrate all the same."""
    set_defaults(empty_database, ODD_DEFAULTS | {"default_transaction_read_only": "on"})

    assert await asyncio.to_thread(migrations.migrate, empty_database)
    assert [] == await asyncio.to_thread(migrations.plan, empty_database)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_an_encoding_that_holds_not_every_text_is_refused(postgres: str, encoding: str) -> None:
    """The refusal comes before anything is made in the database."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        create = SQL("create database {} encoding {} locale_provider libc locale 'C' template template0")
        connection.execute(create.format(Identifier(name), Literal(encoding)))
        url = rename_database(postgres, name)
        try:
            with pytest.raises(StartError, match=f"has the encoding {encoding}.*encoding 'UTF8'"):
                await asyncio.to_thread(migrations.migrate, url)
            with pytest.raises(StartError, match=f"has the encoding {encoding}.*encoding 'UTF8'"):
                await asyncio.to_thread(migrations.verify, url)
            assert {} == describe(url)
        finally:
            drop_database(connection, name)


async def test_a_schema_of_its_own(empty_database: str) -> None:
    """Two installations in one database, each in its schema: each has all, reports its own, and counts its own.

    Neither waits for what the other one does.
    """
    async with AsyncExitStack() as held, asyncio.timeout(60):
        for schema in ("one", "other"):
            with psycopg.connect(empty_database, autocommit=True) as admin:
                admin.execute(SQL("create schema {}").format(Identifier(schema)))
            url = f"{empty_database}?options=-csearch_path%3D{schema}"
            assert await asyncio.to_thread(migrations.migrate, url)
            opening = await open_long_connection(DatabaseConfig(write_url=SecretStr(url)))
            connection = await held.enter_async_context(opening)
            report = await read_report(connection, limit=200)

            assert {"applications", "events_default"} <= {row["partition"] for row in report.sections["sizes"]}
            assert await try_watch_lock(connection)

            await held.enter_async_context(connection.transaction())
            await lock_partitions(connection)  # that of a migration as well
            pool = await open_pool(DatabaseConfig(), SecretStr(url), name="test")
            held.push_async_callback(pool.close)
            assert await held.enter_async_context(redrive_alone(pool))
            async with redrive_alone(pool) as is_alone:
                assert not is_alone

    assert {} == describe(empty_database)


def test_a_database_that_is_behind_is_told(empty_database: str) -> None:
    """A process refuses to start on it, and says what to do."""
    with pytest.raises(StartError, match=r"lacks \d+ migrations .*`hookline migrate`"):
        migrations.verify(empty_database)


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    """The message names the place and the setting."""
    with pytest.raises(StartError, match=r"127\.0\.0\.1:1, database d: .*HOOKLINE_DATABASE_WRITE_URL") as caught:
        migrations.plan("postgresql://u:hush@127.0.0.1:1/d")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("table", TABLES, ids=TABLE_NAMES)
def test_tables_are_as_the_code_says(database: str, table: ArchiveTable) -> None:
    """Every column, in the order rows are written in; partitioned by day; the key with the day behind it."""
    with psycopg.connect(database) as connection:
        keys = connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conrelid = %s::regclass and contype = 'p'",
            (table.name,),
        ).fetchall()
        parted = connection.execute("select pg_get_partkeydef(%s::regclass)", (table.name,)).fetchone()

    assert list(table.columns) == [column for column, _, _ in describe(database)[table.name]]
    assert [(f"PRIMARY KEY ({', '.join([*table.key, 'day'])})",)] == keys
    assert ("RANGE (day)",) == parted


@pytest.mark.parametrize("table", TABLES, ids=TABLE_NAMES)
def test_a_row_of_any_day_has_a_place(database: str, table: ArchiveTable) -> None:
    """The default partition takes a row that has no day partition: no clock can stop the archive."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass", (table.name,)
        ).fetchall()

    assert [(table.default_partition,)] == rows


def test_bodies_are_compressed_once(database: str) -> None:
    """Hookline compresses bodies where it pays, and PostgreSQL does not try again."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select attrelid::regclass::text, attname, attstorage from pg_attribute "
            "where attname in ('payload', 'response_body', 'source_value') and attrelid in "
            "('events'::regclass, 'attempts'::regclass, 'dead_letters'::regclass) order by 1"
        ).fetchall()

    assert [
        ("attempts", "response_body", "e"),
        ("dead_letters", "source_value", "e"),
        ("events", "payload", "e"),
    ] == rows


def list_relations(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        rows = connection.execute("select relname from pg_class where relnamespace = 'public'::regnamespace order by 1")
        return [row[0] for row in rows]


def test_a_plan_changes_nothing(empty_database: str) -> None:
    """A dry run, and the look of a process that starts, leave a database as empty as it was."""
    assert migrations.plan(empty_database)
    with pytest.raises(StartError):
        migrations.verify(empty_database)

    assert [] == list_relations(empty_database)


@contextmanager
def start_migrate(database: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`hookline migrate`, killed in the end."""
    command = [sys.executable, "-m", "pipeline.cli", "migrate"]
    environ = select_environ(os.environ) | {"HOOKLINE_DATABASE_WRITE_URL": database}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def wait_for_lock(connection: psycopg.Connection[object], statement: str) -> None:
    """Wait until a session stands still with such a statement."""

    def is_waiting() -> bool:
        found = connection.execute(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
            "and query ilike %s",
            (statement,),
        )
        assert found.fetchone() is not None
        return True

    await eventually(lambda: asyncio.to_thread(is_waiting), timeout_s=60)


async def test_a_killed_one_leaves_no_lock(empty_database: str) -> None:
    """A process that was killed in the middle keeps no later one waiting, or from migrating at all."""
    with psycopg.connect(empty_database) as other, psycopg.connect(empty_database, autocommit=True) as looking:
        other.execute("create table organizations (a int)")  # not committed: a second one has to wait
        with start_migrate(empty_database):
            await wait_for_lock(looking, "%create table organizations%")
        other.rollback()
    names = await asyncio.to_thread(migrations.migrate, empty_database)

    assert "0001.control_plane" == names[0]
    assert [] == migrations.plan(empty_database)


async def test_a_killed_one_leaves_nothing_half_done(empty_database: str) -> None:
    """A migration is applied and listed at once: killed in between it would be applied again, and fail for ever."""
    migrations.migrate(empty_database)
    backend = get_backend(empty_database.replace("postgresql://", "postgresql+psycopg://"))
    with as_file(files("pipeline.postgres").joinpath("sql")) as folder:
        last = [each for each in backend.to_rollback(read_migrations(str(folder))) if each.id >= "0242"]
        backend.rollback_migrations(last)
    backend.connection.close()
    names = migrations.plan(empty_database)
    with psycopg.connect(empty_database) as other, psycopg.connect(empty_database, autocommit=True) as looking:
        other.execute("lock table _yoyo_migration in share mode")  # it can be read, and nothing listed
        with start_migrate(empty_database):
            await wait_for_lock(looking, "insert into%_yoyo_migration%")
    applied = await asyncio.to_thread(migrations.migrate, empty_database)

    assert "0242.retry_schedules" == names[0]
    assert names == applied


def test_any_url_of_libpq_will_do(empty_database: str) -> None:
    """Several hosts, of which the first one is away; a limit of time that would end every statement."""
    head, _, rest = empty_database.rpartition("@")
    several = f"{head}@127.0.0.1:1,{rest}?options=-cstatement_timeout%3D1"

    assert migrations.migrate(several)
    migrations.verify(several)


@pytest.mark.parametrize("url", ["nonsense", "host", "postgresql://u:hush@h/d?wrong=1"])
def test_what_is_no_url_is_told_without_the_password(url: str) -> None:
    """The message names the setting and shows the form."""
    with pytest.raises(StartError, match=r"HOOKLINE_DATABASE_WRITE_URL, .*no libpq URL; it looks like") as caught:
        migrations.plan(url)

    assert "hush" not in str(caught.value)


def test_a_role_that_may_make_nothing_is_told(empty_database: str) -> None:
    """The message has PostgreSQL's reason, and what to do."""
    role = f"reader_{uuid4().hex[:8]}"
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(SQL("create role {} login password 'x'").format(Identifier(role)))
        try:
            place = empty_database.rpartition("@")[2]
            with pytest.raises(StartError, match=r"permission denied for schema public.*may make tables"):
                migrations.migrate(f"postgresql://{role}:x@{place}")
        finally:
            connection.execute(SQL("drop role {}").format(Identifier(role)))


def test_a_folder_of_any_name_has_the_migrations(tmp_path: Path) -> None:
    """Brackets in the path of an installation are no pattern: nothing would be found, and nothing missing."""
    place = tmp_path / "hook[line]"
    copytree(ROOT / "pipeline", place / "pipeline", ignore=ignore_patterns("__pycache__"))
    script = "from pipeline.postgres import migrations\nwith migrations._read() as found: print(len(found))"
    environ = select_environ(os.environ) | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, env=environ, capture_output=True, text=True, check=True
    )

    assert int(done.stdout) > 10
