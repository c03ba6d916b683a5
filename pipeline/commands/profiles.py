"""`hookline profiles`: which `hookline up` run."""

import json
import os

import click


@click.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array, without secrets.")
def profiles(is_json: bool) -> None:
    """List each `hookline up` of this user that runs: the name for --profile, its API and its data directory.

    Those that were killed, or started with --unlisted, are not shown.

    \b
    Example:
      hookline profiles
      hookline profiles --json
    """
    from pipeline.commands.installation.running import Running, list_found

    rows = [
        {"profile": each.profile, "api": each.report.api, "data_dir": str(each.root)}
        for each in list_found(os.environ)
        if isinstance(each, Running)
    ]
    if is_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['profile']:<20}  {row['api']:<36}  {row['data_dir']}")
    if not rows:
        click.echo("no `hookline up` runs")
