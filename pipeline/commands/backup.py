"""`hookline backup`: what an installation would have if PostgreSQL were restored from a backup."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.installation.options import with_installation

if TYPE_CHECKING:
    from pipeline.config import DatabaseConfig, Settings
    from pipeline.core.log.restoring import Noted, Part
    from pipeline.postgres.pool import Pool
    from pipeline.topics import Topics


@click.group()
def backup() -> None:
    """Look whether a backup of PostgreSQL is of use. PostgreSQL makes it: `pg_dump`, or a base backup and WAL.

    A backup is PostgreSQL and the sealing keys; Kafka's log fills in what came since, as long as it keeps it.
    """


@backup.command()
@click.option(
    "--database-url", "url", default=None, help="The restored backup; without it the installation's own database."
)
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation()
def check(settings: "Settings", url: str | None, is_json: bool) -> None:
    """Say what an installation would have, and lack, with this database in the place of its own.

    Restore the backup into a database of its own, and give its URL. It is compared with the sealing keys that are given
    and with Kafka's log; nothing is changed. A backup of an earlier release needs `hookline migrate` first. The exit
    code is 1 when something would be missing, otherwise 0.

    \b
    Example:
      createdb restored && pg_restore -d restored hookline.dump
      hookline backup check --database-url postgresql:///restored
    """
    from pydantic import SecretStr

    database = settings.database
    if url is not None:
        database = database.model_copy(update={"write_url": SecretStr(url)})
    found = asyncio.run(_check(settings, database))
    click.echo(json.dumps(found, indent=2) if is_json else _describe(found))
    sys.exit(0 if found["is_whole"] else 1)


async def _check(settings: "Settings", database: "DatabaseConfig") -> dict[str, Any]:
    from pipeline.gateway.diagnosis import find_differences, open_views
    from pipeline.kafka.admin import verify_topics
    from pipeline.kafka.listening import refuse_closed
    from pipeline.postgres import migrations
    from pipeline.postgres.archive.noted import read_noted
    from pipeline.postgres.pool import open_pool
    from pipeline.topics import declare_topics_for

    topics = declare_topics_for(settings.kafka)
    await asyncio.to_thread(refuse_closed, settings.kafka)
    await asyncio.to_thread(verify_topics, settings.kafka, topics)
    await asyncio.to_thread(migrations.verify, database.write_url.get_secret_value())
    pool = await open_pool(database, database.write_url, name="backup")
    try:
        keys = await _find_missing_keys(settings, pool)
        async with open_views(settings.kafka, topics) as views:
            differences = await find_differences(pool, *views)
        noted = await read_noted(pool)
    finally:
        await pool.close()
    parts = await _compare(settings, topics, noted)
    newest_us = max((each.appended_at_us or 0 for each in noted.values()), default=0)
    gone = sum(each.gone for each in parts)
    return {
        "is_whole": not (keys or gone or any(each.problem for each in parts)),
        "newest_at": _format_time(newest_us) if newest_us else None,
        "filled_until": _format_time(newest_us + settings.kafka.event_retention_s * 1_000_000) if newest_us else None,
        "keys_missing": keys,
        "differences": len(differences),
        "offsets_again": sum(each.again for each in parts),
        "offsets_gone": gone,
        "partitions": [
            {
                "topic": each.place[0],
                "partition": each.place[1],
                "again": each.again,
                "gone": each.gone,
                "problem": each.problem,
            }
            for each in parts
        ],
    }


async def _find_missing_keys(settings: "Settings", pool: "Pool") -> list[dict[str, Any]]:
    """Keys that secrets are sealed with and that this process cannot open them with."""
    from pipeline.postgres.control.sealed_secrets import list_key_uses
    from pipeline.sealing_keys import find_problem, load_sealer

    sealer = load_sealer(settings.sealing)
    problems = [(use, find_problem(sealer, use.key_id, use.sealed, use.context)) for use in await list_key_uses(pool)]
    return [
        {"key_id": use.key_id, "secrets": use.secrets, "problem": problem}
        for use, problem in problems
        if problem is not None
    ]


async def _compare(settings: "Settings", topics: "Topics", noted: "dict[tuple[str, int], Noted]") -> "list[Part]":
    from pipeline.core.log.restoring import compare
    from pipeline.kafka.settled import read_bounds
    from pipeline.kafka.topic_ids import TopicIds

    archived = topics.of_archive()
    ids = TopicIds(settings.kafka, archived)
    await ids.start()
    present = {topic.name: topic_id for topic in archived if (topic_id := ids.find(topic.name)) is not None}
    return compare(noted, await asyncio.to_thread(read_bounds, settings.kafka, archived), present)


def _describe(found: "dict[str, Any]") -> str:
    changes, again = found["differences"], found["offsets_again"]
    lines = [
        f"newest record  {found['newest_at'] or 'none: nothing was archived'}",
        *(
            f"sealing key    {each['key_id']} is missing, {each['secrets']} secrets: {each['problem']}"
            for each in found["keys_missing"]
        ),
        f"configuration  {changes} differences: gateways would publish what this database has"
        if changes
        else "configuration  as it is published",
        f"archive        {again} offsets come again from the log",
    ]
    for each in found["partitions"]:
        where = f"  {each['topic']} [{each['partition']}]"
        if each["problem"]:
            lines.append(f"{where}  {each['problem']}")
        if each["gone"]:
            lines.append(f"{where}  GONE: {each['gone']} offsets are neither archived nor in the log")
    if found["is_whole"]:
        until = found["filled_until"]
        lines.append(
            "whole          nothing is missing" + (f"; the log fills it in until about {until}" if until else "")
        )
    return "\n".join(lines)


def _format_time(at_us: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"
