"""Command lines as documents show them, held against the real commands."""

import re
import shlex
from collections.abc import Iterator

import click

from pipeline.cli import cli
from tests.unit.contracts.repository import list_blocks, list_inline_code

# Where a command line ends for us: what follows is the shell's.
END = re.compile(r"\s(?:\||&&|;|>|<|#)|[)…]")
START = re.compile(r"(?:^|[\s/(])hookline[ \t]+(?=[a-z-])(.*)", re.MULTILINE)
SHELL = frozenset({"sh", "bash", "shell", "console"})


def find_command_lines(markdown: str) -> Iterator[str]:
    """Find the words that follow `hookline` in shell blocks and inline code."""
    texts = [block.text.replace("\\\n", " ") for block in list_blocks(markdown) if block.language in SHELL]
    for text in [*texts, *list_inline_code(markdown)]:
        for found in START.findall(text):
            yield END.split(found, maxsplit=1)[0].strip()


def find_problem(line: str) -> str | None:
    """Why `hookline LINE` would not be understood; None when names of commands and options are right."""
    command: click.Command = cli
    context = click.Context(cli)
    path = "hookline"
    for word in shlex.split(line):
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            if found is None:
                return f"`{path}` has no sub-command `{word}`"
            command, path = found, f"{path} {word}"
            context = click.Context(found, parent=context)
        elif word.startswith("-") and word != "-" and word.partition("=")[0] not in _list_options(command):
            return f"`{path}` has no option `{word}`"
    return None


def _list_options(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"-h", "--help"}
