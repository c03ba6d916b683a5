"""`hookline settings`: every setting with its default, unit, bounds and present value."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.installation.options import choice_options, find_installation, read_choice

if TYPE_CHECKING:
    from pipeline.setting_rows import SettingRow


@click.command()
@click.option("--json", "is_json", is_flag=True, help="For programs: one JSON array.")
@choice_options("Show the settings of")
def settings(is_json: bool, profile: str | None, data_dir: Path | None) -> None:
    """List every setting: its present value, what it means, its default, unit and bounds.

    A setting is an environment variable; secrets are not shown. An unknown HOOKLINE_ variable, or a value out of
    bounds, is an error here as everywhere: exit code 2. Shown are those of this environment; with --profile or
    --data-dir those that a command has which works on that `hookline up`.

    \b
    Example:
      HOOKLINE_KAFKA_PARTITIONS=32 hookline settings
      hookline settings --profile shop
    """
    from dataclasses import asdict

    from pipeline.commands.installation.finding import merge_settings
    from pipeline.config import ConfigError, Settings, load_settings
    from pipeline.setting_rows import list_rows

    choice, environ = read_choice(profile, data_dir), dict(os.environ)
    if choice.is_made and (found := find_installation(choice)) is not None:
        environ = merge_settings(os.environ, found)
    try:
        current = load_settings(environ)
    except ConfigError as error:
        # shown all the same: who mistyped a name comes here to find it
        if is_json:
            raise
        _show(list_rows(Settings(), frozenset()))
        click.echo(f"hookline: {error}", err=True)
        sys.exit(2)
    rows = list_rows(current, frozenset(environ))
    if is_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        _show(rows)


def _show(rows: "list[SettingRow]") -> None:
    section = None
    for row in rows:
        if row.section != section:
            section = row.section
            click.echo(f"\n# {section}")
        click.echo(f"\n{row.variable}={row.value or ''}")
        click.echo(f"    {row.meaning}")
        facts = [f"default {row.default or 'none'}" if row.is_given else "the default", row.unit, row.bounds]
        click.echo(f"    {'; '.join(fact for fact in facts if fact)}")
