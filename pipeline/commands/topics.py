"""`hookline topics`: the log's topics compared with the declared ones."""

import asyncio
import json
import shlex
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pipeline.commands.installation.options import KAFKA, with_installation

if TYPE_CHECKING:
    from pipeline.config import KafkaConfig, Settings
    from pipeline.topics import Topics

DONE = {"create": "created", "configure": "configured"}


@click.group()
def topics() -> None:
    """Compare Kafka's topics with those that Hookline declares, and create missing ones.

    Every process refuses to start when a topic is missing or has another number of partitions than
    HOOKLINE_KAFKA_PARTITIONS.

    \b
    Example:
      hookline topics plan
      hookline topics apply
    """


@topics.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@with_installation()
def plan(settings: "Settings", is_json: bool) -> None:
    """Show every topic: ok, to be created, to be configured, or a mismatch that `apply` cannot mend.

    A line `held` for each partition in which a producer's open transaction keeps records from being read, a line
    `short` when brokers forget what a stopped group has done before the log forgets the events, and a line `at risk`
    for each topic of which a lost broker takes records, or an absent one stops writing. Changes nothing. The exit code
    is 2 when there is a mismatch, otherwise 0.

    \b
    Example:
      hookline topics plan
      hookline topics plan --json
    """
    from pipeline.kafka.admin import OFFSETS_RETENTION, find_offsets_retention_s, plan_topics
    from pipeline.kafka.open_transactions import find_open_transactions

    config, declared = _declare_reachable(settings.kafka)
    changes = {change.topic: change for change in plan_topics(config, declared)}
    whole = [topic for topic in declared.all() if topic.name not in changes or changes[topic.name].kind == "configure"]
    held = find_open_transactions(config, whole)
    rows: list[tuple[str, str, str]] = []
    for topic in declared.all():
        change = changes.get(topic.name)
        state = ("ok", f"{topic.partitions} partitions") if change is None else (change.kind, change.detail)
        rows.append((topic.name, *state))
        for (name, partition), offsets in held.items():
            if name == topic.name:
                rows.append((name, "held", f"partition {partition}: {offsets} offsets behind an open transaction"))
    kept_s = find_offsets_retention_s(config)
    if kept_s is not None and kept_s < config.event_retention_s:
        wanted = f"events are kept for {config.event_retention_s / 60:g}: see docs/operating.md"
        rows.append((OFFSETS_RETENTION, "short", f"brokers have {kept_s / 60:g}, {wanted}"))
    rows += _list_risks(config, declared)
    _show(rows, is_json=is_json)
    sys.exit(2 if any(change.kind == "mismatch" for change in changes.values()) else 0)


@topics.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@with_installation(KAFKA)
def apply(settings: "Settings", is_json: bool) -> None:
    """Create missing topics and set what differs. May be repeated.

    New topics get HOOKLINE_KAFKA_PARTITIONS partitions and HOOKLINE_KAFKA_REPLICATION_FACTOR replicas. A mismatch of
    partitions is refused with exit code 2, and nothing is changed then. Lines `at risk` as of `plan`.

    \b
    Example:
      HOOKLINE_KAFKA_REPLICATION_FACTOR=3 HOOKLINE_KAFKA_PARTITIONS=32 hookline topics apply
    """
    from pipeline.kafka.admin import apply_topics

    config, declared = _declare_reachable(settings.kafka)
    done = [(each.topic, DONE.get(each.kind, each.kind), each.detail) for each in apply_topics(config, declared)]
    if not done and not is_json:
        click.echo("nothing to do: all topics are as declared")
    _show([*done, *_list_risks(config, declared)], is_json=is_json)


@topics.command()
@click.argument("application_id", type=click.UUID)
@click.option(
    "--partitions", type=click.IntRange(1, 1024), default=1, show_default=True, help="Partitions of the topic."
)
@click.option(
    "--principal", help="Principal that may write the topic, like User:shop; shows the commands that allow it."
)
@with_installation(KAFKA)
def producer(settings: "Settings", application_id: UUID, partitions: int, principal: str | None) -> None:
    """Create the topic of an application's producers, unless it is there (docs/kafka-producers.md).

    An application that PostgreSQL (HOOKLINE_DATABASE_WRITE_URL) does not have is refused, and nothing is made.

    \b
    Example:
      hookline topics producer 0190f1a2-0000-7000-8000-000000000001 --principal User:shop
    """
    from pipeline.kafka.admin import create_producer_topic

    config, _ = _declare_reachable(settings.kafka)
    asyncio.run(_require_application(settings, str(application_id)))
    name, found = create_producer_topic(config, str(application_id), partitions)
    click.echo(name)
    if found != partitions:
        click.echo(f"it is there already, with {found} partitions, and stays as it is", err=True)
    if principal is not None:
        who = shlex.quote(principal)
        kafka_acls = f"kafka-acls --bootstrap-server {config.bootstrap_servers} --add --allow-principal {who}"
        click.echo(f"{kafka_acls} --operation Write --operation Describe --topic {name}")
        click.echo(f"{kafka_acls} --operation IdempotentWrite --cluster")


GROW = """topics cannot be grown from {now} to {wanted} partitions in place.

The number of partitions decides in which one an application's events, and a subscription's deliveries, lie. Grown in
place, the next event of an application could lie in another partition than its last one, be matched first, and overtake
it; matcher and deliver would look for routes, endpoints and attempts where they are not.

The way to {wanted} partitions, without a lost event and without a pause of accepting (more: docs/topics-grow.md):

  1. HOOKLINE_KAFKA_TOPIC_PREFIX={prefix}{wanted}. HOOKLINE_KAFKA_PARTITIONS={wanted} hookline topics apply
     HOOKLINE_KAFKA_TOPIC_PREFIX={prefix}{wanted}. HOOKLINE_KAFKA_PARTITIONS={wanted} hookline doctor --heal
  2. start matcher, deliver and archive with these two settings, beside those that run, on the same database;
     HOOKLINE_ARCHIVE_LEDGER_INTERVAL_S=0 for all archives until step 5
  3. restart the gateways with them, one after the other, but leave one with the old settings, without traffic: it
     publishes changes into the old topics, for what still waits there
  4. leave the old processes until `hookline ledger` with the old settings has nothing waiting, pending or parked
  5. stop them; delete the old topics when their retention is over
"""


@topics.command()
@click.argument("partitions", type=click.IntRange(1, 10_000))
@with_installation()
def grow(settings: "Settings", partitions: int) -> None:
    """Say how to come to PARTITIONS partitions, or that there are so many already. Changes nothing.

    More partitions in place would let an application's events overtake each other, so it is refused, with exit code 2.

    \b
    Example:
      hookline topics grow 32
    """
    config = settings.kafka
    if partitions == config.partitions:
        click.echo(f"nothing to do: HOOKLINE_KAFKA_PARTITIONS is {partitions}")
        return
    if partitions < config.partitions:
        click.echo(f"there are {config.partitions} partitions, and Kafka cannot take any away; the way is the same")
    click.echo(GROW.format(now=config.partitions, wanted=partitions, prefix=config.topic_prefix), nl=False, err=True)
    sys.exit(2)


def _declare_reachable(config: "KafkaConfig") -> "tuple[KafkaConfig, Topics]":
    """Declare topics of a Kafka that runs. Raises `StartError` when no broker listens."""
    from pipeline.kafka.listening import refuse_closed
    from pipeline.topics import declare_topics_for

    declared = declare_topics_for(config)
    refuse_closed(config)
    return config, declared


async def _require_application(settings: "Settings", application_id: str) -> None:
    from pipeline.commands.database import open_command_pool
    from pipeline.postgres.control.applications import find_application
    from pipeline.start_error import StartError

    async with open_command_pool(settings.database, name="topics") as pool:
        if await find_application(pool, application_id) is None:
            raise StartError(f"there is no application {application_id}: no event of its producers would be accepted")


def _list_risks(config: "KafkaConfig", declared: "Topics") -> list[tuple[str, str, str]]:
    from pipeline.kafka.replication import find_risks

    return [(topic, "at risk", risk) for topic, risk in find_risks(config, declared.all())]


def _show(rows: list[tuple[str, str, str]], *, is_json: bool) -> None:
    """`rows`: topic, state, detail."""
    if is_json:
        members = ("topic", "state", "detail")
        click.echo(json.dumps([dict(zip(members, row, strict=True)) for row in rows], indent=2))
        return
    for topic, word, detail in rows:
        click.echo(f"{word:<10}  {topic:<32}  {detail}")
