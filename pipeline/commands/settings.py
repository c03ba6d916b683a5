"""`hookline settings`: every setting with its default, unit, bounds and present value."""

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.setting_rows import SettingRow


@click.command()
def settings() -> None:
    """List every setting: its present value, what it means, its default, unit and bounds.

    A setting is an environment variable; secrets are not shown. An unknown HOOKLINE_ variable, or a value out of
    bounds, is an error here as everywhere: exit code 2.

    \b
    Example:
      HOOKLINE_KAFKA_PARTITIONS=32 hookline settings
    """
    from pipeline.config import ConfigError, Settings, load_settings
    from pipeline.setting_rows import list_rows

    try:
        current = load_settings(os.environ)
    except ConfigError as error:
        # shown all the same: who mistyped a name comes here to find it
        _show(list_rows(Settings(), frozenset()))
        click.echo(f"hookline: {error}", err=True)
        sys.exit(2)
    _show(list_rows(current, frozenset(os.environ)))


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
