"""The benchmark's reads against a real gateway: each kind is answered, and measured."""

import time

import pytest
from pydantic import SecretStr

from bench.cases.scenario import Reads
from bench.direct.reads import measure_reads
from bench.staging.installation import Installation
from bench.staging.stage import Watching
from pipeline.config import DatabaseConfig
from pipeline.postgres.archive.filling import fill_archive
from pipeline.postgres.pool import open_pool
from tests.support.stack import MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")

ROWS = 4_000
RATE_PER_S, SECONDS = 20.0, 0.5


async def test_every_kind_of_read_is_answered(stack: Stack) -> None:
    """No failures; as many at the fixed rate as there are in the time."""
    database = SecretStr(stack.database_url)
    pool = await open_pool(DatabaseConfig(write_url=database), database, name="bench")
    installation = Installation(api=stack.api.url, master_api_key=MASTER_KEY)
    wanted = Reads(connections=2, rate_per_s=RATE_PER_S, seconds=SECONDS, warm_up_s=0.0)
    watching = Watching(on_step=lambda _: None, on_sample=lambda _: None)
    try:
        await fill_archive(pool, ROWS, now_us=time.time_ns() // 1000, progress=lambda _: None)
        found = await measure_reads(installation, pool, wanted, watching)
    finally:
        await pool.close()
    names = ["list of events", "one event", "list of attempts", "attempts of an event", "one attempt"]

    assert [*names, "all kinds, 20/s"] == [each.name for each in found]
    assert [0] * 6 == [each.failures for each in found]
    assert all(each.units == len(each.latencies_us) > 0 for each in found)
    assert int(RATE_PER_S * SECONDS) == found[-1].units
