"""`hookline topics`: what the log has against what is declared."""

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.config import KafkaConfig
    from pipeline.topics import Topics


@click.group()
def topics() -> None:
    """Compare Kafka's topics with what Hookline declares, and create what is missing.

    Every process refuses to start when a topic is missing or has another number of partitions than
    HOOKLINE_KAFKA_PARTITIONS.

    \b
    Example:
      hookline topics plan
      hookline topics apply
    """


@topics.command()
def plan() -> None:
    """Show every topic: ok, to be created, to be configured, or a mismatch that `apply` cannot mend.

    Changes nothing. The exit code is 2 when there is a mismatch, otherwise 0.

    \b
    Example:
      hookline topics plan
    """
    from pipeline.kafka.admin import plan_topics

    config, declared = _declare()
    changes = {change.topic: change for change in plan_topics(config, declared)}
    for topic in declared.all():
        change = changes.get(topic.name)
        _show(topic.name, *("ok", f"{topic.partitions} partitions") if change is None else (change.kind, change.detail))
    sys.exit(2 if any(change.kind == "mismatch" for change in changes.values()) else 0)


@topics.command()
def apply() -> None:
    """Create missing topics and set what differs. May be repeated.

    New topics get HOOKLINE_KAFKA_PARTITIONS partitions and HOOKLINE_KAFKA_REPLICATION_FACTOR replicas. A mismatch of
    partitions is refused with exit code 2, and nothing is changed then.

    \b
    Example:
      HOOKLINE_KAFKA_REPLICATION_FACTOR=3 HOOKLINE_KAFKA_PARTITIONS=32 hookline topics apply
    """
    from pipeline.kafka.admin import apply_topics

    config, declared = _declare()
    done = apply_topics(config, declared)
    for change in done:
        _show(
            change.topic, {"create": "created", "configure": "configured"}.get(change.kind, change.kind), change.detail
        )
    if not done:
        click.echo("nothing to do: all topics are as declared")


def _declare() -> "tuple[KafkaConfig, Topics]":
    from pipeline.config import load_settings
    from pipeline.topics import declare_topics_for

    config = load_settings(os.environ).kafka
    return config, declare_topics_for(config)


def _show(topic: str, word: str, detail: str) -> None:
    click.echo(f"{word:<10}  {topic:<32}  {detail}")
