"""The archive process with a clock that is set while it runs."""

from functools import partial
from pathlib import Path

from pipeline.postgres.archive_tables import TABLES
from tests.integration.archive.house import House
from tests.integration.archive.tables import count_rows, list_partitions, read_rows
from tests.integration.archive.test_archive_faults import find_problems
from tests.support.clock import Clock
from tests.support.eventually import eventually

HOUR_S = 3600
DAY_S = 24 * HOUR_S
SHIFTS = {
    HOUR_S: "60.0 minutes ahead",
    6 * DAY_S: "6.0 days ahead",
    40 * DAY_S: "40.0 days ahead",
    -HOUR_S: "60.0 minutes behind",
    -6 * DAY_S: "6.0 days behind",
    -40 * DAY_S: "40.0 days behind",
}
WITHIN_S = 60.0  # it takes 5 s on a quiet machine


async def test_a_clock_that_is_set_takes_nothing_away(
    kafka: str, topic_prefix: str, database: str, tmp_path: Path
) -> None:
    """±1 h, ±6 d, ±40 d: health is red and says why, and nothing is taken out."""
    house = await House(kafka, topic_prefix, database).prepare()
    clock = Clock(tmp_path)
    archive = house.archive(clock.environ, ARCHIVE_RETENTION_DAYS="5")

    async def is_told(word: str) -> bool:
        return word in (await find_problems(archive)).get("retention", "")

    async def is_well() -> bool:
        return await find_problems(archive) == {}

    async with archive:
        load = house.load(20)
        await house.wait_until_archived(load)
        days = {table.name: list_partitions(database, table.name) for table in TABLES}
        for shift_s, word in SHIFTS.items():
            clock.set(shift_s)
            await eventually(partial(is_told, word), timeout_s=WITHIN_S)
        # librdkafka's waits end at a time of the wall clock: it stands still, and may not end in order
        await archive.kill()
        load.add(house.load(20))
        clock.set(0)
        await archive.start()
        await eventually(is_well, timeout_s=WITHIN_S)
        await house.wait_until_archived(load)
    assert days == {table.name: list_partitions(database, table.name) for table in TABLES}
    assert set(days["events"]) - {"events_default"} >= {row["part"] for row in read_rows(database, "events")}
    assert 0 == count_rows(database, "archive_detached")
    assert archive.log().count("clocks_disagree") == 1
