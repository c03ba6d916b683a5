"""The options that `hookline send` and `hookline trigger` share: for whom they send, and with which labels."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pipeline.commands.installation.options import choice_options

Command = TypeVar("Command", bound=Callable[..., Any])


def parse_label(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    """`key=value` words as a mapping."""
    pairs = [word.partition("=") for word in words]
    wrong = [
        word for word, (key, separator, value) in zip(words, pairs, strict=True) if not (key and separator and value)
    ]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not key=value")
    return {key: value for key, _, value in pairs}


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--label", "labels", multiple=True, metavar="K=V", callback=parse_label, help="A label; may be repeated."
    ),
    click.option("--api", metavar="URL", help="Address of the API; ends in /api/v1."),
    click.option("--application-id", metavar="ID", help="The application that sends."),
    click.option("--secret", metavar="SECRET", help="A secret of the application."),
    choice_options("Take what is not given from"),
)


def sender_options(command: Command) -> Command:
    """Adds labels, api, application_id, secret, profile and data_dir to a command; listed in this order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
