"""`hookline capacity`: how large an installation must be."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.finite import FiniteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.core.capacity import Capacity, Demand, Figures

MIB = 1024**2
MOST = 1e9  # of anything: their products are numbers still
UNITS = ((1024**4, "TiB"), (1024**3, "GiB"), (MIB, "MiB"))
FIGURES_FILE = Path(__file__).resolve().parents[1] / "bench" / "figures.json"


@click.command()
@click.option("--events", type=FiniteRange(0, MOST, min_open=True), help="Events a second, at the busiest time.")
@click.option(
    "--average-events",
    type=FiniteRange(0, MOST, min_open=True),
    help="Events a second on average over days, for disks; none: as --events.",
)
@click.option("--fan-out", type=FiniteRange(0, MOST), default=1.0, show_default=True, help="Subscriptions per event.")
@click.option(
    "--payload-bytes", type=FiniteRange(1, MOST), default=1000.0, show_default=True, help="Mean size of a payload."
)
@click.option(
    "--endpoint-ms",
    type=FiniteRange(0, MOST),
    default=100.0,
    show_default=True,
    help="Mean time until endpoints answer.",
)
@click.option(
    "--attempts",
    type=FiniteRange(1, MOST),
    default=1.0,
    show_default=True,
    help="Mean number of attempts of a delivery.",
)
@click.option(
    "--retention-days", type=FiniteRange(0, MOST, min_open=True), help="Days in the archive; none: the setting."
)
@click.option("--log-days", type=FiniteRange(0, MOST, min_open=True), help="Days in the log; none: the setting.")
@click.option(
    "--replicas", type=click.IntRange(1), default=3, show_default=True, help="Replicas of every record in Kafka."
)
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@click.option(
    "--from",
    "results",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of `hookline bench saturation`: its figures instead of the built-in ones.",
)
@click.option("--keep", is_flag=True, help="With --from: make those the built-in ones (of this checkout), and end.")
def capacity(
    events: float | None,
    average_events: float | None,
    fan_out: float,
    payload_bytes: float,
    endpoint_ms: float,
    attempts: float,
    retention_days: float | None,
    log_days: float | None,
    replicas: int,
    is_json: bool,
    results: Path | None,
    keep: bool,
) -> None:
    """Estimate processes, partitions, disk and memory for a load.

    Computed from measured figures: what an event, a delivery and a kilobyte of payload cost each process, on one core.
    Other machines differ: `hookline bench saturation` measures yours, and --from takes its results. No process is
    planned to be busier than 60 % of a core. Common rules of thumb are shown beside: 2,000 events a second for an API
    server, at least 2; 100 webhooks a second for a worker, at least 1.

    \b
    Example:
      hookline capacity --events 1000
      hookline capacity --events 5000 --average-events 800 --fan-out 3 --payload-bytes 4000 --endpoint-ms 250
    """
    import os

    from bench.capacity_figures import derive_figures, load_figures, write_figures
    from bench.errors import BenchError
    from bench.session import read_results
    from pipeline.config import load_settings
    from pipeline.core.capacity import DAY_S, Demand, plan_capacity

    try:
        figures = load_figures() if results is None else derive_figures(read_results(results))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if keep:
        if results is None:
            raise click.UsageError("--keep needs --from")
        write_figures(figures, FIGURES_FILE)
        click.echo(f"kept: {figures.source}")
        return
    if events is None:
        raise click.UsageError("say --events: how many a second, at the busiest time")
    settings = load_settings(os.environ)
    demand = Demand(
        events_per_s=events,
        average_events_per_s=average_events,
        fan_out=fan_out,
        payload_bytes=payload_bytes,
        endpoint_latency_ms=endpoint_ms,
        attempts_per_delivery=attempts,
        archive_days=retention_days or settings.archive.retention_days,
        log_days=log_days or settings.kafka.event_retention_s / DAY_S,
        replicas=replicas,
        connections_max=settings.worker.max_connections,
    )
    planned = plan_capacity(demand, figures)
    if is_json:
        from dataclasses import asdict

        click.echo(json.dumps({"demand": asdict(demand), "capacity": asdict(planned), "figures": figures.source}))
        return
    for line in format_capacity(demand, planned, figures):
        click.echo(line)


def format_capacity(demand: "Demand", planned: "Capacity", figures: "Figures") -> "Iterator[str]":
    """The plan for people, line by line."""
    yield (
        f"{demand.events_per_s:,g} events/s, {demand.fan_out:g} deliveries each, {demand.payload_bytes:,.0f} bytes, "
        f"endpoints answer in {demand.endpoint_latency_ms:g} ms"
    )
    yield ""
    yield f"{'process':<10}{'run':>5}{'for the load':>14}{'cores busy':>12}{'memory':>10}   why so many"
    for kind, need in planned.needs.items():
        yield (
            f"{kind:<10}{need.processes:>5}{need.for_load:>14}{need.cores:>12.2f}"
            f"{format_bytes(need.memory_mib * MIB):>10}   {need.reason}"
        )
    yield ""
    rows = {
        "partitions": f"{planned.partitions:,}",
        "Kafka": f"{planned.service_cores['kafka']:.1f} cores, {format_bytes(planned.log_bytes)} of disk "
        f"({demand.log_days:g} days, {demand.replicas} replicas)",
        "PostgreSQL": f"{planned.service_cores['postgres']:.1f} cores, grows by "
        f"{format_bytes(planned.archive_bytes_per_day)} a day to {format_bytes(planned.archive_bytes)} "
        f"({demand.archive_days:g} days)",
        "in flight": f"{planned.requests_in_flight:,.0f} requests to endpoints",
        "rules of thumb": f"{planned.rule_servers} API servers (2,000 events/s each, at least 2), "
        f"{planned.rule_workers} workers (100 webhooks/s each, at least 1)",
        "figures": figures.source,
    }
    for name, value in rows.items():
        yield f"{name:<16}{value}"


def format_bytes(value: float) -> str:
    """Format a size in the largest unit of which there is at least one."""
    for size, unit in UNITS:
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value / MIB:.1f} MiB"
