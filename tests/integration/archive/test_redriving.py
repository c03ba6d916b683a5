"""Sending dead letters again, from a real PostgreSQL."""

from typing import Any, cast

import psycopg

from pipeline.gateway.redriving import redrive
from pipeline.postgres.archive.dead_letters import LetterFilter
from tests.integration.archive.records import TOPICS, Log, change, make_dead_letter, make_event, make_id
from tests.integration.archive.test_reads import open_archive

LETTERS = 6


class Producer:
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sent = 0

    async def send_bytes(self, records: list[Any]) -> None:
        self.sent += len(records)


async def test_letters_that_retention_takes_meanwhile_are_skipped(database: str) -> None:
    """The letters of a batch are read in portions: a later one may find less than was listed."""
    application_id, log, producer = make_id(), Log(), Producer()
    # of this reason four come into one portion
    letters = [
        change(make_dead_letter(make_event(application_id)), dead_id=make_id(), reason="payload_gone")
        for _ in range(LETTERS)
    ]

    def take_away(_: int) -> None:
        with psycopg.connect(database) as connection:
            connection.execute("delete from dead_letters where application_id = %s", (application_id,))

    async with open_archive(database) as (owner, pool):
        await owner.write(*map(log.append, letters))
        wanted = LetterFilter(application_id=application_id)
        done = await redrive(
            pool,
            cast("Any", producer),
            TOPICS,
            wanted,
            reading=cast("Any", None),
            progress=take_away,
        )

    assert LETTERS == done.redriven + len(done.skipped)
    assert producer.sent == done.redriven < LETTERS


async def test_a_long_list_is_sent_in_batches(database: str) -> None:
    """A list reads all letters unless it is of an application: it is long, and what is sent at once is not."""
    application_id, log, producer = make_id(), Log(), Producer()
    letters = [change(make_dead_letter(make_event(application_id)), dead_id=make_id()) for _ in range(450)]
    sizes: list[int] = []
    async with open_archive(database) as (owner, pool):
        await owner.write(*map(log.append, letters))
        done = await redrive(
            pool,
            cast("Any", producer),
            TOPICS,
            LetterFilter(),
            reading=cast("Any", None),
            page_letters=1000,
            progress=sizes.append,
        )
        again = await redrive(pool, cast("Any", producer), TOPICS, LetterFilter(), reading=cast("Any", None))

    assert [450, 450, 0] == [done.redriven, producer.sent, again.redriven]
    assert [200, 200, 50] == sizes
