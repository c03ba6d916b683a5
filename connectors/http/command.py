"""`hookline deliver`: the http sink as a process."""

from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import with_chosen_installation

if TYPE_CHECKING:
    from pipeline.config import Settings


@click.command()
@with_chosen_installation
def deliver(settings: "Settings") -> None:
    """Run the http sink: sends deliveries to customers' endpoints, signed, retried, isolated from each other.

    Run as many as there are partitions at most; they share the work as one Kafka consumer group, and everything about
    one endpoint is handled by one of them. Needs Kafka and a sealing key; not PostgreSQL. Loopback and private
    addresses are refused unless HOOKLINE_DELIVER_ALLOW_PRIVATE_ADDRESSES is true.
    /health and /metrics are on HOOKLINE_PROCESS_METRICS_PORT. SIGTERM stops it in order: requests in flight may end.

    \b
    Example:
      export HOOKLINE_KAFKA_BOOTSTRAP_SERVERS=kafka.example.com:9092
      export HOOKLINE_SEALING_KEY_FILE=/etc/hookline/sealing.key
      HOOKLINE_WORKER_MAX_CONNECTIONS=2000 hookline deliver
    """
    from connectors.http.worker import main
    from pipeline import process
    from pipeline.ending import leave

    leave(process.run("deliver", settings, main))
