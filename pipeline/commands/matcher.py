"""`hookline matcher`: events to deliveries, as a process."""

from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import with_chosen_installation

if TYPE_CHECKING:
    from pipeline.config import Settings


@click.command()
@with_chosen_installation
def matcher(settings: "Settings") -> None:
    """Run the stream processor that matches events to subscriptions.

    Reads the events topic, finds the subscriptions each event matches, and writes one delivery for each. Run as many as
    there are partitions at most; they share the work as one Kafka consumer group. Needs Kafka only.
    /health and /metrics are on HOOKLINE_PROCESS_METRICS_PORT. SIGTERM stops it in order: what was read is settled.

    \b
    Example:
      HOOKLINE_KAFKA_BOOTSTRAP_SERVERS=kafka.example.com:9092 hookline matcher
    """
    from pipeline import process
    from pipeline.ending import leave
    from pipeline.matcher.worker import main

    leave(process.run("matcher", settings, main))
