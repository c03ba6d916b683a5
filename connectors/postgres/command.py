"""`hookline archive`: the PostgreSQL sink as a process, and what its operator does with the archive."""

import asyncio
import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import KAFKA, POSTGRES, choice_options, load_for_process, with_installation

if TYPE_CHECKING:
    from pipeline.config import DatabaseConfig, Settings


@click.group(invoke_without_command=True)
@choice_options("Join")
@click.pass_context
def archive(context: click.Context, profile: str | None, data_dir: Path | None) -> None:
    """Run the PostgreSQL sink: keeps events, what they matched, attempts and dead letters, exactly once.

    Run as many as there are partitions at most; they share the work as one Kafka consumer group. While PostgreSQL is
    away it waits, and Kafka keeps the records. Makes day partitions HOOKLINE_ARCHIVE_DAYS_AHEAD days ahead.
    Days older than HOOKLINE_ARCHIVE_RETENTION_DAYS are taken out, HOOKLINE_ARCHIVE_DROP_MAX_DAYS within an hour, and
    dropped HOOKLINE_ARCHIVE_DETACHED_HOURS later; none while the clocks of host, PostgreSQL and log differ.
    /health and /metrics are on HOOKLINE_PROCESS_METRICS_PORT. SIGTERM stops it in order.

    \b
    Example:
      export HOOKLINE_KAFKA_BOOTSTRAP_SERVERS=kafka.example.com:9092
      export HOOKLINE_DATABASE_WRITE_URL=postgresql://hookline@db.example.com/hookline
      hookline archive
    """
    if context.invoked_subcommand is not None:
        return
    from connectors.postgres.worker import main
    from pipeline import process
    from pipeline.ending import leave

    leave(process.run("archive", load_for_process(profile, data_dir), main))


@archive.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@with_installation()
def detached(settings: "Settings", is_json: bool) -> None:
    """List the days that were taken out of the archive and can be attached again.

    \b
    Example:
      hookline archive detached
    """
    from pipeline.commands.database import open_command_connection
    from pipeline.postgres.archive.retention import list_detached

    async def find() -> None:
        async with open_command_connection(settings.database) as connection:
            days = await list_detached(connection)
        if is_json:
            rows = [{"day": str(e.day), "detached_at": str(e.detached_at), "tables": list(e.tables)} for e in days]
            click.echo(json.dumps(rows, indent=2))
            return
        for each in days:
            click.echo(f"{each.day}  taken out {each.detached_at}  {', '.join(each.tables)}")
        if not days:
            click.echo("no day can be attached again")

    asyncio.run(find())


@archive.command()
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--dry-run", is_flag=True, help="Only say what would be attached.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(POSTGRES)
def restore(settings: "Settings", day: datetime, dry_run: bool, is_json: bool) -> None:
    """Attach a day (UTC, as 2026-01-31) again that was taken out of the archive and was not dropped yet.

    The archive may run meanwhile. The day stays for HOOKLINE_ARCHIVE_DETACHED_HOURS, however old it is; to keep it
    longer, raise HOOKLINE_ARCHIVE_RETENTION_DAYS. `hookline archive detached` lists the days.

    \b
    Example:
      hookline archive restore 2026-11-24 --dry-run
    """
    asyncio.run(_restore(settings.database, day.date(), dry_run=dry_run, is_json=is_json))


async def _restore(database: "DatabaseConfig", day: date, *, dry_run: bool, is_json: bool) -> None:
    from pipeline.commands.database import open_command_connection
    from pipeline.postgres.archive.retention import restore_day

    async with open_command_connection(database) as connection:
        await connection.execute("set statement_timeout = 0")  # attaching looks at every row of the day
        rows = await restore_day(connection, day, dry_run=dry_run)
    if not rows:
        raise click.ClickException(f"{day} is not among the days taken out; `hookline archive detached` lists them")
    if is_json:
        click.echo(json.dumps({"day": str(day), "attached": not dry_run, "rows": dict(rows)}, indent=2))
        return
    for table, count in rows.items():
        click.echo(f"{'to attach' if dry_run else 'attached'}  {table}  {count} rows")


@archive.command()
@click.option("--dry-run", is_flag=True, help="Only say what is missing and how much the log has.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object, with --dry-run.")
@with_installation(KAFKA, POSTGRES)
def rebuild(settings: "Settings", dry_run: bool, is_json: bool) -> None:
    """Write the archive again from the log: after rows or tables were lost, or a PostgreSQL was set up anew.

    Makes the tables that are missing, begins every partition anew, archives what the log still has, and ends. Rows that
    are there stay, and none is written twice. Archive processes that run are fenced off, start again and help; without
    any, this command does it alone. What the log has deleted by then (HOOKLINE_KAFKA_EVENT_RETENTION_S) is gone.
    May be interrupted: `hookline archive` goes on from there.

    \b
    Example:
      hookline archive rebuild --dry-run
      hookline archive rebuild
    """
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress

    from connectors.postgres.rebuild import count_records
    from connectors.postgres.rebuild import plan as make_plan
    from connectors.postgres.rebuild import rebuild as write_again
    from pipeline import process
    from pipeline.ending import leave
    from pipeline.kafka.listening import refuse_closed

    if is_json and not dry_run:
        raise click.UsageError("--json is for --dry-run: the work itself is logged")
    refuse_closed(settings.kafka)
    if dry_run:
        planned, bounds = asyncio.run(make_plan(settings))
        counts = {
            topic: count_records({place: each for place, each in bounds.items() if place[0] == topic})
            for topic in sorted({topic for topic, _ in bounds})
        }
        if is_json:
            found = {"missing_tables": list(planned.missing_tables), "offsets_to_read": counts}
            click.echo(json.dumps(found, indent=2))
            return
        click.echo(f"missing tables: {', '.join(planned.missing_tables) or 'none'}")
        for topic, count in counts.items():
            click.echo(f"{topic}  {count} offsets to read")
        return
    # elsewhere than on a terminal the log says how far it is
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("archiving", total=None)

        def show(written: int, total: int) -> None:
            progress.update(bar, completed=written, total=total)

        code = process.run("archive", settings, partial(write_again, show=show))
    leave(code)
