"""Commands that change something say with --json what they did."""

import json
from typing import Any

from tests.support.commands import run_hookline


async def run(environ: dict[str, str], *arguments: str) -> Any:
    ended = await run_hookline(*arguments, "--json", environ=environ)
    assert 0 == ended.code, ended
    return json.loads(ended.out)


async def test_topics_are_named_as_by_plan(kafka: str, topic_prefix: str) -> None:
    """Created, configured, or nothing: an array each time."""
    environ = {
        "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "HOOKLINE_KAFKA_TOPIC_PREFIX": topic_prefix,
        "HOOKLINE_KAFKA_PARTITIONS": "1",
    }
    planned = await run(environ, "topics", "plan")
    made = await run(environ, "topics", "apply")
    again = await run(environ, "topics", "apply")
    changed = await run(environ | {"HOOKLINE_KAFKA_EVENT_RETENTION_S": "86400"}, "topics", "apply")

    assert [row["topic"] for row in planned if row["state"] == "create"] == [row["topic"] for row in made]
    assert {"created"} == {row["state"] for row in made}
    assert [] == again
    assert {"configured"} == {row["state"] for row in changed}
    assert f"{topic_prefix}events" in {row["topic"] for row in changed}


async def test_migrations_are_named(empty_database: str) -> None:
    """The object has migrations to be applied, those that were, and none when all are there."""
    environ = {"HOOKLINE_DATABASE_WRITE_URL": empty_database}
    planned = await run(environ, "migrate", "--dry-run")
    done = await run(environ, "migrate")
    again = await run(environ, "migrate")

    assert planned["dry_run"]
    assert len(planned["migrations"]) > 1
    assert {"dry_run": False, "migrations": planned["migrations"]} == done
    assert {"dry_run": False, "migrations": []} == again
