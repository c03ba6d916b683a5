"""The archive process with a clock that is set while it runs."""

from functools import partial
from pathlib import Path

from pipeline.postgres.archive.tables import TABLES
from tests.integration.archive.archive_site import ArchiveSite
from tests.integration.archive.tables import count_rows, list_partitions, read_rows
from tests.integration.archive.test_archive_faults import find_problems
from tests.support.eventually import eventually
from tests.support.python_clock import PythonClock

DAY_S = 86_400
SHIFTS = {40 * DAY_S: "40.0 days ahead", -6 * DAY_S: "6.0 days behind"}
WITHIN_S = 60.0  # it takes 5 s on a quiet machine


async def test_a_clock_that_is_set_takes_nothing_away(
    kafka: str, topic_prefix: str, database: str, tmp_path: Path
) -> None:
    """40 days ahead, 6 behind: health is red and says why, nothing is taken out. Set back, the process ends itself."""
    site = await ArchiveSite(kafka, topic_prefix, database).prepare()
    clock = PythonClock(tmp_path)
    archive = site.archive(clock.environ, ARCHIVE_RETENTION_DAYS="5")

    async def is_told(word: str) -> bool:
        return word in (await find_problems(archive)).get("retention", "")

    async def is_well() -> bool:
        return await find_problems(archive) == {}

    async def say(shift_s: int) -> None:
        clock.set(shift_s)
        await eventually(partial(is_told, SHIFTS[shift_s]), timeout_s=WITHIN_S)

    async def start_again() -> None:
        assert 1 == await archive.wait(timeout_s=WITHIN_S)
        await archive.start()

    async with archive:
        load = site.load(20)
        await site.wait_until_archived(load)
        days = {table.name: list_partitions(database, table.name) for table in TABLES}
        await say(40 * DAY_S)
        load.add(site.load(20))
        await site.wait_until_archived(load)
        clock.set(-6 * DAY_S)
        await start_again()
        load.add(site.load(20))
        await site.wait_until_archived(load)
        await say(-6 * DAY_S)
        clock.set(0)
        await eventually(is_well, timeout_s=WITHIN_S)
    assert days == {table.name: list_partitions(database, table.name) for table in TABLES}
    assert set(days["events"]) - {"events_default"} >= {row["part"] for row in read_rows(database, "events")}
    assert 0 == count_rows(database, "archive_detached")
    assert archive.log().count("clocks_disagree") == 2
    assert "was set back by 3974400 s" in archive.log()
