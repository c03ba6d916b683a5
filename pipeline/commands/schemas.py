"""`hookline schemas`: whether one schema may follow another."""

import sys
from pathlib import Path

import click

SCHEMA = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def schemas() -> None:
    """Compare Avro schemas before they are used.

    \b
    Example:
      hookline schemas check order/v1.avsc order/v2.avsc
    """


@schemas.command()
@click.argument("old", type=SCHEMA)
@click.argument("new", type=SCHEMA)
@click.option(
    "--direction",
    type=click.Choice(["backward", "forward", "both"]),
    default="backward",
    show_default=True,
    help="backward: readers with NEW read what was written with OLD; forward: the other way round.",
)
def check(old: Path, new: Path, direction: str) -> None:
    """May the Avro schema NEW follow OLD? By the rules of Avro's specification on schema resolution.

    Changes nothing. The exit code is 0 when it may, 1 when it may not (each reason is a line), 2 when a file is no
    schema.

    \b
    Example:
      hookline schemas check order/v1.avsc order/v2.avsc
      hookline schemas check order/v1.avsc order/v2.avsc --direction both
    """
    from pipeline.core.schema_changes import list_incompatibilities

    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in (old, new)}
    pairs = {"backward": [(new, old)], "forward": [(old, new)], "both": [(new, old), (old, new)]}[direction]
    problems = []
    for reader, writer in pairs:
        try:
            found = list_incompatibilities(reader=texts[reader], writer=texts[writer])
        except ValueError as error:
            click.echo(f"hookline: {old} or {new} is no Avro schema: {error}", err=True)
            sys.exit(2)
        problems += [f"a reader with {reader} cannot read what {writer} writes: {problem}" for problem in found]
    for problem in problems:
        click.echo(problem)
    if not problems:
        click.echo(f"{new} may follow {old} ({direction})")
    sys.exit(1 if problems else 0)
