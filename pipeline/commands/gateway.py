"""`hookline gateway`: the HTTP API as a process."""

from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import with_chosen_installation

if TYPE_CHECKING:
    from pipeline.config import Settings


@click.command()
@with_chosen_installation
def gateway(settings: "Settings") -> None:
    """Run the HTTP API: takes events in, and configures applications and subscriptions.

    Listens on HOOKLINE_GATEWAY_HOST and HOOKLINE_GATEWAY_PORT, under /api/v1. Events are written to Kafka and answered
    with 201 once every in-sync replica has them; everything else is kept in PostgreSQL. Any number may run at once.
    Needs the topics (`hookline topics apply`), the migrations (`hookline migrate`) and a sealing key.
    /health and /metrics are on HOOKLINE_PROCESS_METRICS_PORT. SIGTERM stops it in order: it is not ready any more,
    serves for HOOKLINE_GATEWAY_DRAIN_S, and closes.

    \b
    Example:
      export HOOKLINE_KAFKA_BOOTSTRAP_SERVERS=kafka.example.com:9092
      export HOOKLINE_DATABASE_WRITE_URL=postgresql://hookline@db.example.com/hookline
      export HOOKLINE_SEALING_KEY_FILE=/etc/hookline/sealing.key
      hookline gateway
    """
    from pipeline import process
    from pipeline.ending import leave
    from pipeline.gateway.server import main

    leave(process.run("gateway", settings, main))
