"""Sending dead letters again, from a real PostgreSQL."""

from typing import Any, cast

import psycopg

from pipeline.gateway.redriving import redrive
from pipeline.postgres.archive.dead_letters import LetterFilter, redrive_alone
from tests.integration.archive.records import TOPICS, Log, change, make_dead_letter, make_event, make_id
from tests.integration.archive.test_reads import open_archive
from tests.support.commands import run_hookline

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


async def test_one_command_at_a_time_redrives(kafka: str, topic_prefix: str, database: str) -> None:
    """A second one says so: both would send each letter. A dry run, and one after the other, are free to go."""
    environ = {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix,
        "HOOKLINE_DATABASE_WRITE_URL": database,
    }
    await run_hookline("topics", "apply", environ=environ)
    letter = change(make_dead_letter(make_event(make_id())), dead_id=make_id())
    async with open_archive(database) as (owner, pool):
        await owner.write(Log().append(letter))
        async with redrive_alone(pool) as is_alone:
            assert is_alone
            second = await run_hookline("dead", "redrive", "--everything", environ=environ)
            dry = await run_hookline("dead", "redrive", "--everything", "--dry-run", environ=environ)
        later = await run_hookline("dead", "redrive", "--everything", environ=environ)

    assert (2, "") == (second.code, second.out)
    assert "another `hookline dead redrive` is at work" in second.err
    assert (0, "would send 1 dead letters again (1 unknown_event_type)\n") == (dry.code, dry.out)
    assert 0 == later.code
