"""The benchmark's writes on a real archive: what is measured is there afterwards."""

from bench.cases.scenario import ArchiveWrites
from bench.direct.writes import PLACE, measure_writes
from bench.staging.stage import Watching
from pipeline.postgres.archive.filling import ROWS_PER_EVENT
from pipeline.postgres.pool import open_pool
from tests.integration.archive.tables import configure, count_rows, read_positions

TABLES = ("events", "dispatches", "deliveries", "attempts")


async def test_what_is_measured_is_written(database: str) -> None:
    """A row in each table for each event; the position moves with them."""
    config = configure(database)
    pool = await open_pool(config, config.write_url, name="bench")
    try:
        wanted = ArchiveWrites(batches=(1, 20), seconds=0.3)
        found = await measure_writes(config, pool, wanted, Watching(on_step=lambda _: None, on_sample=lambda _: None))
    finally:
        await pool.close()
    rows = sum(each.units for each in found)

    assert ["4 rows a transaction", "80 rows a transaction"] == [each.name for each in found]
    assert {rows // ROWS_PER_EVENT} == {count_rows(database, table) for table in TABLES}
    assert {PLACE: rows // ROWS_PER_EVENT} == read_positions(database)
