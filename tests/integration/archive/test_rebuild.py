"""`hookline archive rebuild`: after rows were lost, and after tables were, the log brings all of it back."""

import asyncio
import os
import sys
from typing import Any

import psycopg
import pytest

from pipeline.postgres.archive.tables import TABLES
from tests.integration.archive.archive_site import ArchiveSite, ids_of
from tests.integration.archive.tables import count_rows, read_positions, read_rows
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.processes import ROOT, select_environ
from tests.support.supervised import keep_running

LOSSES = {
    "truncate": "truncate events, dispatches, deliveries, attempts, dead_letters",
    "drop table": (
        "drop table events, dispatches, deliveries, attempts, dead_letters, "
        "archive_offsets, archive_detached, redriven_events, attempt_minutes"
    ),
    "one of them": "drop table attempts; truncate archive_offsets",
}
SCHEMA = (
    (
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns "
        "where table_name = any(%s) order by 1, 2"
    ),
    "select tablename, indexname, indexdef from pg_indexes where tablename = any(%s) order by 1, 2",
    (
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint "
        "where conrelid::regclass::text = any(%s) order by 1, 2"
    ),
    (
        "select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger "
        "where tgrelid::regclass::text = any(%s) and not tgisinternal order by 1, 2"
    ),
    (
        "select attrelid::regclass::text, attname, attstorage from pg_attribute "
        "where attrelid::regclass::text = any(%s) and attnum > 0 order by 1, 2"
    ),
)


def describe_schema(database: str) -> list[Any]:
    names = [name for table in TABLES for name in (table.name, table.default_partition)]
    names += ["archive_offsets", "archive_detached", "redriven_events", "attempt_minutes"]
    with psycopg.connect(database) as connection:
        return [connection.execute(each, (names,)).fetchall() for each in SCHEMA]


async def rebuild(site: ArchiveSite, *arguments: str) -> str:
    """Run the command to its end; what it said."""
    environ = select_environ(os.environ) | site.environ()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.cli", "archive", "rebuild", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=environ,
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    return text


@pytest.mark.parametrize("loss", LOSSES)
async def test_the_log_brings_it_back(kafka: str, topic_prefix: str, database: str, loss: str) -> None:
    """Every row once, the tables as the migrations make them, the positions where the log ends; first only said."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    async with site.archive():
        load = site.load(200)
        await site.wait_until_archived(load)
        # a position may still be under way behind the last row
        await eventually(lambda: asyncio.to_thread(lambda: read_positions(database) == site.ends()))
    before = describe_schema(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(LOSSES[loss].encode())

    planned = await rebuild(site, "--dry-run")
    assert ("missing tables: none" in planned) == (loss == "truncate")
    assert "offsets to read" in planned
    output = await rebuild(site)

    assert "rebuilt" in output
    assert load.expected() == {table: count_rows(database, table) for table in load.expected()}
    assert sorted(each.attempt_id for each in load.attempts) == ids_of(read_rows(database, "attempts"), "attempt_id")
    assert site.ends() == read_positions(database)
    assert before == describe_schema(database)


async def test_it_goes_on_beside_an_archive_that_runs(kafka: str, topic_prefix: str, database: str) -> None:
    """A process that runs is fenced off, so that it writes nothing beside the new positions; what comes in is kept."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    running = site.archive()
    async with running:
        load = site.load(100)
        await site.wait_until_archived(load)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("truncate events")
        rebuilding = asyncio.create_task(rebuild(site))
        load.add(site.load(100))
        # it ends when it finds itself replaced, which may be at the next record only, or shares the work
        ended: list[int] = []
        async with beside(keep_running([running], ended)):
            await rebuilding
            load.add(site.load(100))
            await site.wait_until_archived(load)
        await running.wait_ready()
        assert set(ended) <= {1}
        assert len(ended) <= running.log().count("FencedError")
