"""`hookline migrate`: PostgreSQL's tables."""

import os

import click


@click.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be applied.")
def migrate(dry_run: bool) -> None:
    """Bring the database at HOOKLINE_DATABASE_WRITE_URL up to date.

    Applies the migrations it does not have yet, in order. May be repeated, and may run on several machines at once.
    The gateway and the archive refuse to start without them.

    \b
    Example:
      HOOKLINE_DATABASE_WRITE_URL=postgresql://hookline@db.example.com/hookline hookline migrate --dry-run
    """
    from pipeline.config import load_settings
    from pipeline.postgres import migrations

    url = load_settings(os.environ).database.write_url.get_secret_value()
    names = migrations.plan(url) if dry_run else migrations.migrate(url)
    for name in names:
        click.echo(f"{'to apply' if dry_run else 'applied'}  {name}")
    if not names:
        click.echo("nothing to do: the database is up to date")
