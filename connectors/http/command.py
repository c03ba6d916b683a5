"""`hookline deliver`: the http sink as a process."""

import os

import click


@click.command()
def deliver() -> None:
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
    from pipeline.config import load_settings
    from pipeline.ending import leave

    leave(process.run("deliver", load_settings(os.environ), main))
