"""`hookline`: the one command, whose sub-commands are the processes and the tools around them.

What a sub-command does lives in `pipeline/commands` (a module each), in the connectors and in `bench`, which announce
theirs in the entry point group `hookline.commands`. A module is imported when its command is asked for: `--help` stays
quick.
"""

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from pipeline import __version__
from pipeline.commands.installation.options import choice_options

ENTRY_POINT_GROUP = "hookline.commands"
# In the order a newcomer reads them: try it, the processes, what runs once.
BUILT_IN = {
    "up": "pipeline.commands.up.command:up",
    "profiles": "pipeline.commands.profiles:profiles",
    "send": "pipeline.commands.send:send",
    "trigger": "pipeline.commands.trigger:trigger",
    "listen": "pipeline.commands.listen.command:listen",
    "gateway": "pipeline.commands.gateway:gateway",
    "matcher": "pipeline.commands.matcher:matcher",
    "dead": "pipeline.commands.dead:dead",
    "ledger": "pipeline.commands.ledger:ledger",
    "keys": "pipeline.commands.keys:keys",
    "topics": "pipeline.commands.topics:topics",
    "schemas": "pipeline.commands.schemas:schemas",
    "migrate": "pipeline.commands.migrate:migrate",
    "db": "pipeline.commands.db:db",
    "partitions": "pipeline.commands.partitions:partitions",
    "doctor": "pipeline.commands.doctor:doctor",
    "backup": "pipeline.commands.backup:backup",
    "settings": "pipeline.commands.settings:settings",
}


class LazyGroup(click.Group):
    """Imports a sub-command when it is asked for. Subclassing is how click wants this done."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        first = list(BUILT_IN)
        return first + [name for name in sorted(_find_announced()) if name not in first]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = BUILT_IN.get(cmd_name)
        if place is not None:
            module, _, attribute = place.partition(":")
            return _as_command(getattr(importlib.import_module(module), attribute))
        announced = _find_announced().get(cmd_name)
        return None if announced is None else _as_command(announced.load())


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hookline")
@choice_options("Use")
def cli(profile: str | None, data_dir: Path | None) -> None:
    """Webhooks as a service on a Kafka log.

    \b
    Try it:
      hookline up          start everything on this machine, with a demo application
      hookline ledger      in another terminal: commands find the `hookline up` that runs
      hookline COMMAND -h  what a command does, with an example

    Settings are environment variables that start with HOOKLINE_; `hookline settings` lists them.

    \b
    A command works on, in this order:
      the `hookline up` that --profile NAME or --data-dir DIR names (`hookline profiles` lists them)
      what HOOKLINE_KAFKA_BOOTSTRAP_SERVERS and HOOKLINE_DATABASE_WRITE_URL name
      the `hookline up` of this directory or one above it, otherwise the only one of this user
    The processes (gateway, matcher, deliver, archive) join a `hookline up` that is named, and no other.
    What changes something says before where it does.

    \b
    Completion, in ~/.bashrc (zsh_source and fish_source likewise):
      eval "$(_HOOKLINE_COMPLETE=bash_source hookline)"
    """


def main() -> None:
    """The console script: one sentence without a traceback when a command cannot do its work, and exit code 2."""
    # imported here: who only wants a command of this module needs no logs
    from pipeline.commands.outcome import run_command
    from pipeline.commands.streams import prepare_streams
    from pipeline.logs import configure_command_logs

    prepare_streams()
    configure_command_logs()  # a process configures its own
    sys.exit(run_command(cli, sys.argv[1:]))


def _find_announced() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _as_command(loaded: object) -> click.Command:
    if not isinstance(loaded, click.Command):
        raise TypeError(f"{loaded!r} is no command: entry points of {ENTRY_POINT_GROUP} name click commands")
    return loaded


if __name__ == "__main__":
    main()
