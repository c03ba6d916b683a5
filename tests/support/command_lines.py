"""The commands of `hookline`, and whether one would take a command line; none is run."""

import re
import shlex
from collections.abc import Iterator

import click

from pipeline.cli import cli

HEAD = re.compile(r"^(?:(?:export )?\w+=\S* +)*(?:\.venv/bin/)?hookline (?=[a-z])")
# where the shell goes on
END = re.compile(r"\s(?:\|\|?|&&|;|>|<|#)\s?.*")


def list_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None
            yield from list_commands(found, (*path, word))
        if not command.invoke_without_command:
            return
    yield " ".join(path), command


COMMANDS = dict(list_commands(cli))


def find_lines(text: str) -> list[str]:
    """The command lines of a shell text, without what the shell does."""
    lines = [line.strip() for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines()]
    return [END.sub("", HEAD.sub("", line)) for line in lines if HEAD.match(line)]


def find_complaint(line: str) -> str | None:
    """Why a command would not take this line; None: it would begin its work."""
    command: click.Command = cli
    try:
        context = cli.make_context("hookline", shlex.split(line))
        while isinstance(command, click.Group):
            arguments = [*context._protected_args, *context.args]  # noqa: SLF001 - click has no other way to go on
            if not arguments and command.invoke_without_command:
                return None
            _, found, arguments = command.resolve_command(context, arguments)
            assert found is not None
            command = found
            context = command.make_context(command.name, arguments, parent=context)
    except click.exceptions.Exit:  # --help
        return None
    except click.ClickException as error:
        return f"hookline {line}: {error.format_message()}"
    return None
