"""Rebalances that meet a batch in the middle: what a process keeps is written, whatever it gives away."""

import asyncio

from tests.integration.archive.archive_site import ArchiveSite, ids_of
from tests.integration.archive.rebalances import rebalance_under_load
from tests.integration.archive.tables import read_positions, read_rows


async def test_a_rebalance_in_the_middle_of_a_batch_loses_nothing(kafka: str, topic_prefix: str, database: str) -> None:
    """A batch that takes longer than a rebalance waits is cancelled: the kept partitions' records are written again.

    The long form, ten rebalances and 5 s a batch, is in tests/chaos.
    """
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=4).prepare()
    load, cancelled = await rebalance_under_load(site, rebalances=3, batch_s=2.5, grace_s=0.3)

    assert cancelled >= 1, "no rebalance met a batch: this run proves nothing"
    assert sorted(event.event_id for event in load.events) == ids_of(read_rows(database, "events"), "event_id")
    assert await asyncio.to_thread(site.ends) == read_positions(database)
