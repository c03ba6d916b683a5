"""`hookline db`: how PostgreSQL is doing."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.installation.options import with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.postgres.server_report import ServerReport

TITLES = {
    "activity": "Sessions: who is connected, and what the longest of them does",
    "sizes": "Largest partitions and tables",
    "dead_rows": "Dead rows that vacuum has not taken yet",
    "unused_indexes": "Indexes that nothing has used since statistics began (each costs every insert)",
}
NO_STATEMENTS = (
    "pg_stat_statements is not there. To see which statements take the time: shared_preload_libraries = "
    "'pg_stat_statements' in postgresql.conf, a restart, then `create extension pg_stat_statements` in this database."
)


@click.group()
def db() -> None:
    """Look at PostgreSQL. Changes nothing.

    \b
    Example:
      hookline db report
    """


@db.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@click.option("--limit", default=15, show_default=True, type=click.IntRange(1, 1000), help="Rows a section at most.")
@with_installation()
def report(settings: "Settings", is_json: bool, limit: int) -> None:
    """Show slow statements, sessions, sizes by partition, dead rows, unused indexes and vacuum.

    By the server's own statistics, of the primary (HOOKLINE_DATABASE_WRITE_URL). The slowest statements need
    pg_stat_statements; rows that its user may not see are left out.

    \b
    Example:
      hookline db report --limit 30
      hookline db report --json
    """
    found = asyncio.run(_read(settings, limit))
    if is_json:
        sections = {"server": found.server, "statements": found.statements, **found.sections}
        click.echo(json.dumps(sections, indent=2))
    else:
        _show(found)


async def _read(settings: "Settings", limit: int) -> "ServerReport":
    from pipeline.postgres.archive.connection import open_long_connection
    from pipeline.postgres.server_report import read_report

    async with await open_long_connection(settings.database) as connection:
        return await read_report(connection, limit=limit)


def _show(found: "ServerReport") -> None:
    width = max(map(len, found.server))
    for name, value in found.server.items():
        click.echo(f"{name:<{width}}  {_format(name, value)}")
    click.echo("\nStatements that took the most time in all")
    if found.statements is None:
        click.echo(f"  {NO_STATEMENTS}")
    else:
        _show_rows(found.statements)
    for name, rows in found.sections.items():
        click.echo(f"\n{TITLES[name]}")
        _show_rows(rows)


def _show_rows(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        click.echo("  none")
        return
    names = list(rows[0])
    cells = [[_format(name, row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[column]) for line in cells)) for column, name in enumerate(names)]
    for line in [names, *cells]:
        click.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _format(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and name.endswith("bytes"):
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size:
                return f"{value / size:.1f} {unit}"
        return f"{value} B"
    return str(value)
