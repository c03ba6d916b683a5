"""The archive after PostgreSQL failed over to a standby that lacks the last transactions, which were confirmed."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from pipeline.embedded.postgres import EmbeddedPostgres
from pipeline.postgres import migrations
from tests.integration.archive.archive_site import ArchiveSite, Load
from tests.integration.archive.tables import count_rows
from tests.support.eventually import eventually
from tests.support.replica import Replica, run_replica
from tests.support.supervised import keep_running


def cut_off(replica: Replica) -> None:
    """The standby gets nothing from the primary any more."""
    replica.execute("alter system set primary_conninfo = ''")
    replica.execute("select pg_reload_conf()")


def is_cut_off(replica: Replica) -> bool:
    with psycopg.connect(replica.url) as connection:
        return connection.execute("select from pg_stat_wal_receiver").fetchone() is None


def has_all(url: str, load: Load) -> bool:
    return load.expected() == {table: count_rows(url, table) for table in load.expected()}


@pytest.mark.parametrize("more", [0, 20])
async def test_what_the_standby_lacks_is_archived_again(
    kafka: str, topic_prefix: str, tmp_path: Path, more: int
) -> None:
    """Records whose rows were confirmed and are gone are archived again, whether new ones come or not."""
    primary = await asyncio.to_thread(EmbeddedPostgres.start, tmp_path / "primary")
    stopped = False
    (tmp_path / "standby").mkdir()
    try:
        await asyncio.to_thread(migrations.migrate, primary.url)
        async with run_replica(primary, tmp_path / "standby") as replica:
            parts, other = urlsplit(primary.url), urlsplit(replica.url)
            both = parts._replace(
                netloc=f"{parts.netloc},{other.netloc.rpartition('@')[2]}", query="target_session_attrs=read-write"
            ).geturl()
            site = await ArchiveSite(kafka, topic_prefix, both).prepare()
            archive = site.archive()
            ended: list[int] = []
            async with archive:
                load = await asyncio.to_thread(site.load, 50)
                await site.wait_until_archived(load)
                await eventually(lambda: has_all(replica.url, load), timeout_s=60)
                await asyncio.to_thread(cut_off, replica)
                await eventually(lambda: is_cut_off(replica), timeout_s=60)
                load.add(await asyncio.to_thread(site.load, 30))
                await site.wait_until_archived(load)
                await asyncio.to_thread(primary.stop)
                stopped = True
                await asyncio.to_thread(replica.execute, "select pg_promote()")
                keeping = asyncio.create_task(keep_running([archive], ended))
                if more:
                    load.add(await asyncio.to_thread(site.load, more))
                site.database = replica.url
                await site.wait_until_archived(load)
                keeping.cancel()
    finally:
        if not stopped:
            await asyncio.to_thread(primary.stop)
