"""The SQL files on a real PostgreSQL: forwards, again, backwards; and what the code says about the tables."""

import asyncio
from importlib.resources import as_file, files
from pathlib import Path

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from pipeline.postgres import migrations
from pipeline.postgres.archive.tables import TABLES, ArchiveTable
from pipeline.start_error import StartError
from tests.support.eventually import eventually

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


def roll_back(database: str) -> None:
    backend = get_backend(database.replace("postgresql://", "postgresql+psycopg://"))
    with as_file(files("pipeline.postgres").joinpath("sql")) as folder, backend.lock():
        backend.rollback_migrations(backend.to_rollback(read_migrations(str(folder))))
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


async def test_many_at_once(empty_database: str) -> None:
    """Processes that are deployed together may all migrate: one does it, the others find it done."""
    done = await asyncio.gather(*(asyncio.to_thread(migrations.migrate, empty_database) for _ in range(4)))

    assert [migrations.plan(empty_database), 1] == [[], sum(bool(names) for names in done)]
    migrations.verify(empty_database)


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
