"""`hookline migrate`: PostgreSQL's tables."""

import json
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import POSTGRES, with_installation

if TYPE_CHECKING:
    from pipeline.config import Settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be applied.")
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON object.")
@with_installation(POSTGRES)
def migrate(settings: "Settings", dry_run: bool, is_json: bool) -> None:
    """Bring the database at HOOKLINE_DATABASE_WRITE_URL up to date.

    Applies the migrations it does not have yet, in order, each whole or not at all. May be repeated and interrupted,
    and may run on several machines at once: one works, the others wait. The gateway and the archive refuse to start
    without them.

    \b
    Example:
      HOOKLINE_DATABASE_WRITE_URL=postgresql://hookline@db.example.com/hookline hookline migrate --dry-run
    """
    from pipeline.postgres import migrations

    url = settings.database.write_url.get_secret_value()
    if dry_run:
        names = migrations.plan(url)
        for name in [] if is_json else names:
            click.echo(f"to apply  {name}")
    else:  # each is said when it is done: a large one may take long
        names = migrations.migrate(url, on_applied=lambda name: click.echo(f"applied  {name}", err=is_json))
    if is_json:
        click.echo(json.dumps({"dry_run": dry_run, "migrations": list(names)}))
    elif not names:
        click.echo("nothing to do: the database is up to date")
