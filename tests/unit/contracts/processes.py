"""Processes as the code has them: which there are, and their names in each place."""

import inspect
import re
from importlib.metadata import entry_points

import click

from pipeline.cli import ENTRY_POINT_GROUP, cli
from pipeline.core.process_kinds import PROCESS_KINDS
from tests.unit.contracts.repository import list_files, name

# In the order in which an event passes them.
PROCESSES = PROCESS_KINDS
GROUP = re.compile(r"topic_prefix\}(\w+)\"")


def find_command(*words: str) -> click.Command:
    """The command that these words run. Raises `AssertionError` when there is none."""
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group), f"{word} is no sub-command of anything"
        found = command.get_command(click.Context(command), word)
        assert found is not None, f"there is no sub-command {word}"
        command = found
    return command


def read_process_name(command: click.Command) -> str | None:
    """The name under which a command runs a process; None when it runs none."""
    assert command.callback is not None
    found = re.search(r"process\.run\(\s*\"(\w+)\"", inspect.getsource(command.callback))
    return found.group(1) if found is not None else None


def list_connectors() -> set[str]:
    """The processes that announce themselves as entry points."""
    return {point.name for point in entry_points(group=ENTRY_POINT_GROUP) if point.module.startswith("connectors.")}


def list_consumer_groups() -> set[str]:
    """The names of consumer groups in the code, without the prefix of an installation."""
    return {
        group
        for path in list_files()
        if path.suffix == ".py" and name(path).startswith(("pipeline/", "connectors/"))
        for group in GROUP.findall(path.read_text())
    }
