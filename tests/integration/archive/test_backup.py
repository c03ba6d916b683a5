"""A backup of PostgreSQL: what `hookline backup check` says of it, and an installation that goes on with it."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.embedded.postgres import find_binaries
from tests.integration.archive.tables import count_rows
from tests.support.commands import run_hookline
from tests.support.eventually import eventually
from tests.support.kafka import delete_all_records
from tests.support.postgres import create_database
from tests.support.receiver import Receiver
from tests.support.stack import Stack, run_stack

TYPE = "shop.order.paid"
EVENTS = 20


@pytest.fixture
def restored(postgres: str) -> Iterator[str]:
    """An empty database, in which a backup is restored."""
    with create_database(postgres, template="template0") as url:
        yield url


async def test_an_installation_goes_on_with_a_backup(
    kafka: str, postgres: str, migrated_template: str, restored: str, tmp_path: Path
) -> None:
    """The log fills in what came since; of records that have left the log the check says how many are gone."""
    async with (
        Receiver() as receiver,
        run_stack(kafka, postgres, migrated_template, "gateway", "matcher", "deliver", "archive") as stack,
    ):
        space = await stack.api.make_space(TYPE)
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        ids = [await stack.api.send(space, TYPE) for _ in range(EVENTS)]
        await eventually(lambda: has_all(stack.database_url, EVENTS))
        at_once = await check(stack)
        await asyncio.to_thread(dump_and_restore, stack.database_url, restored, tmp_path / "dump")
        ids += [await stack.api.send(space, TYPE) for _ in range(EVENTS)]
        await eventually(lambda: has_all(stack.database_url, 2 * EVENTS))
        found = await check(stack, restored)
        lacking = await check(stack, restored, HOOKLINE_SEALING_KEYS="other:" + "A" * 43 + "=")
        archive = stack.processes["archive"][0]
        await archive.stop()
        archive.set("DATABASE_WRITE_URL", restored)
        await archive.start()
        await eventually(lambda: has_all(restored, 2 * EVENTS), timeout_s=60)
        await archive.stop()
        ids += [await stack.api.send(space, TYPE) for _ in range(EVENTS)]
        await eventually(lambda: len(receiver.requests("/a")) == 3 * EVENTS)
        await asyncio.to_thread(delete_all_records, stack.kafka, stack.topics.events)
        late = await check(stack, restored)

        assert (0, True) == (at_once["exit_code"], at_once["is_whole"])
        assert (0, True, 0, 0) == tuple(
            found[name] for name in ("exit_code", "is_whole", "offsets_gone", "differences")
        )
        assert found["offsets_again"] >= EVENTS * len(stack.topics.of_archive()[:3])
        assert (1, False) == (lacking["exit_code"], lacking["is_whole"])
        assert 1 == len(lacking["keys_missing"])
        assert (1, False) == (late["exit_code"], late["is_whole"])
        assert EVENTS <= sum(each["gone"] for each in late["partitions"] if each["topic"] == stack.topics.events.name)
        assert 2 * EVENTS == len(set(ids[: 2 * EVENTS]) & read_ids(restored))


def dump_and_restore(source: str, target: str, file: Path) -> None:
    binaries = find_binaries()
    subprocess.run([binaries / "pg_dump", "--format=custom", "--file", file, source], check=True)
    subprocess.run([binaries / "pg_restore", "--no-owner", "--dbname", target, file], check=True)


async def check(stack: Stack, url: str | None = None, **environ: str) -> dict[str, Any]:
    """The figures that the command prints, and its exit code."""
    arguments = ("--database-url", url) if url is not None else ()
    ended = await run_hookline("backup", "check", "--json", *arguments, environ=stack.environ | environ)
    assert ended.code in (0, 1), ended.err
    return {**json.loads(ended.out), "exit_code": ended.code}


def has_all(url: str, count: int) -> bool:
    return all(count == count_rows(url, table) for table in ("events", "dispatches", "attempts"))


def read_ids(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("select event_id::text from events")}
