"""Ten rebalances of two archive processes under load, every batch of which takes 5 s: rows = acknowledged events.

`HOOKLINE_TEST_REBALANCES=10 HOOKLINE_TEST_RUNS=3 pytest tests/chaos/test_archive_rebalances.py` are the full three runs
of some four minutes each.
"""

import asyncio
import os

import pytest

from tests.integration.archive.archive_site import ArchiveSite, ids_of
from tests.integration.archive.rebalances import rebalance_under_load
from tests.integration.archive.tables import read_positions, read_rows

REBALANCES = int(os.environ.get("HOOKLINE_TEST_REBALANCES", "10"))
RUNS = int(os.environ.get("HOOKLINE_TEST_RUNS", "3"))


@pytest.mark.parametrize("run", range(RUNS))
async def test_rebalances_over_slow_batches(kafka: str, topic_prefix: str, database: str, run: int) -> None:
    """The grace of a rebalance is the default of 3 s, a batch takes 5: nearly every rebalance cancels one."""
    site = await ArchiveSite(kafka, topic_prefix, database, partitions=4).prepare()
    load, cancelled = await rebalance_under_load(site, rebalances=REBALANCES, batch_s=5.0, grace_s=3.0)

    assert cancelled >= 1, "no rebalance met a batch: this run proves nothing"
    assert sorted(event.event_id for event in load.events) == ids_of(read_rows(database, "events"), "event_id")
    assert sorted(each.attempt_id for each in load.attempts) == ids_of(read_rows(database, "attempts"), "attempt_id")
    assert await asyncio.to_thread(site.ends) == read_positions(database)
