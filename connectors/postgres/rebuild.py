"""`hookline archive rebuild`: the archive written again from the log, by a process that ends when that is done."""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from connectors.postgres.worker import main
from pipeline.commands.database import open_command_connection
from pipeline.config import Settings
from pipeline.core.log.positions import Place
from pipeline.kafka.admin import LogEnds, verify_topics
from pipeline.kafka.client_errors import describe_failure
from pipeline.postgres.archive.connection import Connection, open_archive_connection
from pipeline.postgres.archive.rebuild import Plan, plan_rebuild, prepare_rebuild, read_positions
from pipeline.postgres.pool import DatabaseUnavailable
from pipeline.process import Process
from pipeline.start_error import StartError
from pipeline.topics import declare_topics_for

Bounds = Mapping[Place, tuple[int, int]]
Progress = Callable[[int, int], None]  # records behind us, records in all

LOOK_S = 0.5
AGAIN_AFTER_S = 2.0
SAY_INTERVAL_S = 5.0
# the last offsets of a partition may hold no record (the end of a transaction): nothing moves its position over them
QUIET_S = 30.0
log = structlog.get_logger()


async def plan(settings: Settings) -> tuple[Plan, Bounds]:
    """Tables that PostgreSQL lacks, and records that the log has."""
    async with open_command_connection(settings.database) as connection:
        return await plan_rebuild(connection), await _read_bounds(settings)


async def rebuild(process: Process, show: Progress) -> None:
    """Prepare, then archive until everything that is in the log now is written. SIGTERM ends it; `hookline archive`
    goes on from there."""
    settings = process.settings
    async with open_command_connection(settings.database) as connection:
        bounds = await _read_bounds(settings)
        await connection.execute("set statement_timeout = 0")
        await prepare_rebuild(connection)
    process.supervisor.start("watching", _stop_when_written(process, bounds, show))
    await main(process)


async def _stop_when_written(process: Process, bounds: Bounds, show: Progress) -> None:
    while True:
        try:
            async with await open_archive_connection(process.settings.database) as connection:
                return await _watch(process, connection, bounds, show)
        except DatabaseUnavailable as error:  # the archive waits for it, too
            log.warning("rebuild_waits", reason=" ".join(str(error).split()))
        await asyncio.sleep(AGAIN_AFTER_S)


async def _watch(process: Process, connection: Connection, bounds: Bounds, show: Progress) -> None:
    total, moved_at_s, before = count_records(bounds), time.monotonic(), -1
    said_at_s = moved_at_s
    while True:
        written = count_written(bounds, await read_positions(connection))
        show(written, total)
        if time.monotonic() - said_at_s > SAY_INTERVAL_S:
            said_at_s = time.monotonic()
            log.info("rebuilding", offsets=written, of=total)
        if written != before:
            before, moved_at_s = written, time.monotonic()
        is_quiet = process.is_announced and time.monotonic() - moved_at_s > QUIET_S
        if written >= total or is_quiet:
            log.info("rebuilt", offsets=written, without_record=total - written)
            process.stopping.set()
            return
        await asyncio.sleep(LOOK_S)


def count_records(bounds: Bounds) -> int:
    """The number of offsets that the log has, in all partitions."""
    return sum(end - begin for begin, end in bounds.values())


def count_written(bounds: Bounds, positions: Mapping[Place, int]) -> int:
    """The number of offsets before the positions: they are written."""
    return sum(min(max(positions.get(place, 0), begin), end) - begin for place, (begin, end) in bounds.items())


async def _read_bounds(settings: Settings) -> Bounds:
    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    ends = LogEnds(settings.kafka)
    try:
        return {
            (topic.name, partition): await ends.bounds(topic, partition)
            for topic in (topics.events, topics.dispatches, topics.attempts, topics.dead)
            for partition in range(topic.partitions)
        }
    except TimeoutError as error:
        raise StartError(describe_failure("ask where the log begins and ends", error)) from error
    finally:
        await ends.close()
