"""`hookline partitions`: organizations with partitions of their own in the archive."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import click

from pipeline.commands.installation.options import POSTGRES, with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.postgres.archive.connection import Connection
    from pipeline.postgres.archive.isolation import Planned

T = TypeVar("T")


@click.group()
def partitions() -> None:
    """Give organizations partitions of their own in the archive, beside those by day.

    Rows of an organization with much traffic are then in tables of its own, which only its own lists read. Days that
    have begun stay as they are. Retention is not affected: a day leaves as a whole.

    \b
    Example:
      hookline partitions isolate 0190f1a2-0000-7000-8000-000000000001 --dry-run
    """


@partitions.command()
@click.argument("organization", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(POSTGRES)
def isolate(settings: "Settings", organization: UUID, dry_run: bool, is_json: bool) -> None:
    """Give ORGANIZATION partitions of its own from tomorrow (UTC) on.

    Each day's events, dispatches, deliveries and attempts of its applications get a table each; dead letters stay with
    the others'. Days that are made already and lie ahead are made again. An application that comes later has its part
    in the days that are ahead then. At most 20 organizations; each costs 4 tables a day, for which PostgreSQL must have
    room to lock them (max_locks_per_transaction).

    \b
    Example:
      hookline partitions isolate 0190f1a2-0000-7000-8000-000000000001
    """
    from pipeline.postgres.archive.isolation import isolate as change

    archive = settings.archive
    days_kept = archive.retention_days + archive.days_ahead + 1
    planned = _run(
        settings, lambda connection: change(connection, str(organization), days_kept=days_kept, dry_run=dry_run)
    )
    _show(planned, dry_run=dry_run, is_json=is_json)


@partitions.command()
@click.argument("organization", type=click.UUID)
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(POSTGRES)
def join(settings: "Settings", organization: UUID, dry_run: bool, is_json: bool) -> None:
    """Let ORGANIZATION share the others' partitions again, from tomorrow (UTC) on. Days that have begun stay divided.

    \b
    Example:
      hookline partitions join 0190f1a2-0000-7000-8000-000000000001 --dry-run
    """
    from pipeline.postgres.archive.isolation import join as change

    planned = _run(settings, lambda connection: change(connection, str(organization), dry_run=dry_run))
    _show(planned, dry_run=dry_run, is_json=is_json)


@partitions.command(name="list")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@with_installation()
def list_organizations(settings: "Settings", is_json: bool) -> None:
    """List organizations with partitions of their own: since when, days, rows (estimated) and bytes.

    \b
    Example:
      hookline partitions list --json
    """
    from pipeline.core.events.text import make_printable
    from pipeline.postgres.archive.isolation import list_isolated

    found = _run(settings, list_isolated)
    if is_json:
        rows = [each._asdict() | {"isolated_from": str(each.isolated_from)} for each in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for each in found:
        click.echo(
            f"{each.organization_id}  from {each.isolated_from}  {each.applications} applications  {each.days} days  "
            f"{each.rows} rows  {each.size_bytes} bytes  {make_printable(each.name)}"
        )
    if not found:
        click.echo("no organization has partitions of its own")


def _run(settings: "Settings", work: "Callable[[Connection], Awaitable[T]]") -> T:
    from pipeline.commands.database import open_command_connection
    from pipeline.postgres.archive.isolation import IsolationError

    async def run() -> T:
        async with open_command_connection(settings.database) as connection:
            return await work(connection)

    try:
        return asyncio.run(run())
    except IsolationError as error:
        raise click.ClickException(str(error)) from error


def _show(planned: "Planned", *, dry_run: bool, is_json: bool) -> None:
    if is_json:
        figures = {"first_day": str(planned.first_day), "partitions": list(planned.partitions)}
        click.echo(json.dumps({"dry_run": dry_run, **figures}))
        return
    for name in planned.partitions:
        click.echo(f"{'to make again' if dry_run else 'made again'}  {name}")
    click.echo(f"{'would count' if dry_run else 'counts'} from {planned.first_day} on")
