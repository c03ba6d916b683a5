"""Attempts counted by minute, on a real PostgreSQL: as many as their rows, whatever is repeated or written again."""

from collections import Counter
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from pipeline.core.events.records import Attempt
from pipeline.core.log.positions import HoleError
from pipeline.core.units import SECOND_US
from pipeline.gateway.reads.stats import add_up
from pipeline.postgres.archive.rebuild import prepare_rebuild
from pipeline.postgres.archive.retention import forget_companions
from pipeline.postgres.archive.stats import Counted, StatsFilter, read_stats
from pipeline.postgres.archive.tables import day_of
from pipeline.postgres.pool import open_pool
from tests.integration.archive.records import (
    DAY_US,
    NOW_US,
    Log,
    change,
    make_attempt,
    make_dispatch,
    make_event,
    make_id,
)
from tests.integration.archive.tables import Owner, configure, connect, make_batch, open_writer, read_rows

MINUTE_US = 60 * SECOND_US


def make_attempts(application_id: str, subscription_id: str, **fields: Any) -> list[Attempt]:
    """Three of one event: failed, failed, succeeded; one second apart."""
    dispatch = make_dispatch(make_event(application_id), subscription_id)
    outcomes = ("failed", "failed", "succeeded")
    made = [make_attempt(dispatch, number=number + 1, outcome=each) for number, each in enumerate(outcomes)]
    return [each for attempt in made if isinstance(each := change(attempt, **fields), Attempt)]


def count_rows(database: str) -> Counter[tuple[Any, ...]]:
    """Count the minutes from the attempts themselves, as they should be."""
    return Counter(
        (
            row["application_id"],
            row["subscription_id"],
            row["finished_at_us"] // MINUTE_US,
            row["outcome"],
            row["error_class"] or "",
            (row["response_status"] or 0) // 100,
        )
        for row in read_rows(database, "attempts")
    )


def read_minutes(database: str) -> Counter[tuple[Any, ...]]:
    """Read the minutes as they are."""
    names = ("application_id", "subscription_id", "minute", "outcome", "error_class", "status_class")
    return Counter(
        {tuple(row[name] for name in names): row["attempts"] for row in read_rows(database, "attempt_minutes")}
    )


async def test_every_new_row_counts_once(database: str) -> None:
    """Rows count once in one batch and over several; a repeat in the log, or of a committed batch, adds nothing."""
    log = Log()
    application_id, one, other = make_id(), make_id(), make_id()
    attempts = make_attempts(application_id, one) + make_attempts(application_id, other)
    async with open_writer(database) as writer:
        owner = Owner(writer)
        first = [log.append(each) for each in attempts]
        await owner.claim(first[0].place)
        batch = make_batch(owner, *first)
        assert {"attempts": 6} == await owner.write(*first)
        with pytest.raises(HoleError):
            await writer.write(batch)
        again = [*attempts[:2], *make_attempts(application_id, one), attempts[5]]
        assert {"attempts": 3} == await owner.write(*(log.append(each) for each in again))
        assert await writer.try_rows(make_batch(owner, log.append(make_attempts(application_id, one)[0])).rows) is None

    assert count_rows(database) == read_minutes(database)
    assert 9 == read_minutes(database).total()


async def test_what_a_clock_may_have_written_is_counted(database: str) -> None:
    """An attempt that ends before it begins, or at the end of time, is no reason to refuse its row."""
    log = Log()
    subscription_id, far_us = make_id(), 2**63 - 1
    odd = [
        make_attempts(make_id(), subscription_id, started_at_us=far_us, finished_at_us=-far_us)[0],
        make_attempts(make_id(), subscription_id, started_at_us=-far_us, finished_at_us=far_us)[0],
        make_attempts(make_id(), subscription_id, error_class="E_" + "x" * 5000, response_status=None)[0],
        make_attempts(make_id(), subscription_id, outcome="cancelled", response_status=None)[0],
    ]
    async with open_writer(database) as writer:
        added = await Owner(writer).write(*(log.append(each) for each in odd))

    assert {"attempts": 4} == added
    rows = {row["outcome"]: row["latency"] for row in read_rows(database, "attempt_minutes")}
    assert 4 == read_minutes(database).total()
    assert 0 == sum(rows["cancelled"])
    assert 1 == sum(rows["failed"])


async def test_a_rebuild_makes_them_again(database: str) -> None:
    """Minutes are made from the rows that are there; what the log then brings once more is counted as its rows are."""
    log = Log()
    attempts = make_attempts(make_id(), make_id()) + make_attempts(make_id(), make_id())
    async with open_writer(database) as writer:
        await Owner(writer).write(*(log.append(each) for each in attempts))
    before = read_rows(database, "attempt_minutes")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update attempt_minutes set attempts = 100")
        connection.execute("delete from attempts where attempt_number = 1")
    async with await connect(database) as rebuilding:
        await prepare_rebuild(rebuilding)

    assert count_rows(database) == read_minutes(database)
    assert 4 == read_minutes(database).total()

    log = Log()
    async with open_writer(database) as writer:
        await Owner(writer).write(*(log.append(each) for each in attempts))

    assert sorted(map(str, before)) == sorted(map(str, read_rows(database, "attempt_minutes")))


async def test_they_leave_with_what_can_be_attached_again(database: str) -> None:
    """Minutes of days that have left stay as long as their rows can come back, and a day longer."""
    log = Log()
    subscription_id = make_id()
    ages = (0, 5, 6, 7)
    attempts = [make_attempts(make_id(), subscription_id, finished_at_us=NOW_US - days * DAY_US)[0] for days in ages]
    async with open_writer(database) as writer:
        await Owner(writer).write(*(log.append(each) for each in attempts))
    async with await connect(database) as connection:
        await forget_companions(connection, first_kept=day_of(NOW_US - 4 * DAY_US), keep_hours=24)

    days = {row["minute"] * MINUTE_US // DAY_US - NOW_US // DAY_US for row in read_rows(database, "attempt_minutes")}
    assert {0, -5, -6} == days


async def test_steps_are_sums_of_minutes(database: str) -> None:
    """A step adds up minutes of one subscription, or of all of the application's, within the asked time."""
    log = Log()
    application_id, one, other = make_id(), make_id(), make_id()
    begin = NOW_US // MINUTE_US // 60 * 60
    attempts = [
        attempt
        for number, subscription_id in enumerate((one, one, other, one))
        for attempt in make_attempts(
            application_id,
            subscription_id,
            started_at_us=(begin + number * 20) * MINUTE_US,
            finished_at_us=(begin + number * 20) * MINUTE_US + 30_000,
        )
    ]
    attempts += make_attempts(make_id(), one, finished_at_us=begin * MINUTE_US)
    async with open_writer(database) as writer:
        await Owner(writer).write(*(log.append(each) for each in attempts))

    async def read(step: int, subscription_id: str | None = None, last: int = begin + 120) -> list[Counted]:
        wanted = StatsFilter(
            application_id=application_id,
            subscription_id=subscription_id,
            first_minute=begin,
            last_minute=last,
            step_minutes=step,
        )
        pool = await open_pool(configure(database), SecretStr(database), name="stats", size_max=1)
        try:
            return await read_stats(pool, wanted)
        finally:
            await pool.close()

    minutes, hours = await read(1), await read(60)

    assert {0, 20, 40, 60} == {each.minute - begin for each in minutes}
    assert {0, 60} == {each.minute - begin for each in hours}
    assert add_up(minutes) == add_up(hours)
    assert (12, 4, 8) == tuple(add_up(hours)[name] for name in ("attempts", "succeeded", "failed"))
    assert {"E_HTTP": 8} == add_up(hours)["errors"]
    assert {"2xx": 4, "5xx": 8} == add_up(hours)["statuses"]
    assert 30.0 == add_up(hours)["latency_ms"]["mean"]
    assert 9 == add_up(await read(1, one))["attempts"]
    assert [] == await read(1, make_id())
    assert 9 == add_up(await read(60, last=begin + 60))["attempts"]
