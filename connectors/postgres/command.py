"""`hookline archive`: the PostgreSQL sink as a process."""

import os
import sys

import click


@click.command()
def archive() -> None:
    """Run the PostgreSQL sink: keeps events, what they matched, attempts and dead letters, exactly once.

    Run as many as there are partitions at most; they share the work as one Kafka consumer group. While PostgreSQL is
    away it waits, and Kafka keeps what is to be written. Makes day partitions HOOKLINE_ARCHIVE_DAYS_AHEAD days ahead,
    and drops those older than HOOKLINE_ARCHIVE_RETENTION_DAYS.
    /health and /metrics are on HOOKLINE_PROCESS_METRICS_PORT. SIGTERM stops it in order.

    \b
    Example:
      export HOOKLINE_KAFKA_BOOTSTRAP_SERVERS=kafka.example.com:9092
      export HOOKLINE_DATABASE_WRITE_URL=postgresql://hookline@db.example.com/hookline
      hookline archive
    """
    from connectors.postgres.worker import main
    from pipeline import process
    from pipeline.config import load_settings

    sys.exit(process.run("archive", load_settings(os.environ), main))
