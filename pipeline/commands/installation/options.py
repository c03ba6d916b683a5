"""The way of a command to its installation: --profile and --data-dir, and the settings that it is handed.

Imports next to nothing at its top: every command's module imports this one.
"""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pipeline.commands.installation.finding import Choice, Found
    from pipeline.config import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

KAFKA, POSTGRES = "Kafka", "PostgreSQL"
NONE_FOUND = "No `hookline up` of yours runs either: start one, or set HOOKLINE_ variables that name your installation"


def complete_profile(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The profiles that run."""
    from click.shell_completion import CompletionItem

    from pipeline.commands.installation.running import list_profiles

    return [CompletionItem(profile) for profile in list_profiles(os.environ) if profile.startswith(incomplete)]


def choice_options(what: str) -> Callable[[Command], Command]:
    """Add profile and data_dir to a command. `what`: what it does with the `hookline up` that they name."""

    def add(command: Command) -> Command:
        command = click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="The same, by its data directory.",
        )(command)
        return click.option(
            "--profile", metavar="NAME", shell_complete=complete_profile, help=f"{what} the `hookline up` of this name."
        )(command)

    return add


def read_choice(profile: str | None, data_dir: Path | None) -> "Choice":
    """Read the choice of the command line, behind the command's name or before it."""
    from pipeline.commands.installation.finding import Choice

    context: click.Context | None = click.get_current_context()
    while context is not None and profile is None and data_dir is None:
        profile, data_dir = context.params.get("profile"), context.params.get("data_dir")
        context = context.parent
    return Choice(profile=profile, data_dir=data_dir)


def with_installation(
    *changed: str, when: Callable[[Mapping[str, Any]], bool] = lambda options: not options.get("dry_run")
) -> Callable[[Command], Command]:
    """Hand a command `settings`: those of the `hookline up` that it finds, otherwise the environment's.

    `changed`: the services in which it changes something, which is said before; `when`: with these options.
    """

    def decorate(command: Command) -> Command:
        @choice_options("Use")
        @functools.wraps(command)
        def run(profile: str | None, data_dir: Path | None, **options: Any) -> Any:
            from pipeline.start_error import StartError

            found = find_installation(read_choice(profile, data_dir))
            settings = load_found(found)
            if changed and when(options):
                say(_describe_change(changed, settings, found))
            elif found is not None:
                say_found(found)
            try:
                return command(settings=settings, **options)
            except StartError as error:
                if found is None and not _is_named() and _is_away(error):
                    raise StartError(f"{error} {NONE_FOUND}") from error
                raise

        return run  # type: ignore[return-value]  # its parameters are the options, as before

    return decorate


def with_chosen_installation(command: Command) -> Command:
    """Hand a process `settings`: those of the `hookline up` that the command line names, otherwise the environment's.

    A process takes work from those that run already, so it joins none that was not named.
    """

    @choice_options("Join")
    @functools.wraps(command)
    def run(profile: str | None, data_dir: Path | None, **options: Any) -> Any:
        return command(settings=load_for_process(profile, data_dir), **options)

    return run  # type: ignore[return-value]  # its parameters are the options, as before


def load_for_process(profile: str | None, data_dir: Path | None) -> "Settings":
    """The settings of a process. Raises `StartError` or `ConfigError`."""
    from pipeline.commands.installation.finding import find_chosen

    choice = read_choice(profile, data_dir)
    found = find_chosen(choice, os.environ) if choice.is_made else None
    if found is None and not _is_named():
        _say_not_joined()
    settings = load_found(found)
    if found is not None:
        say(f"joining {found.running.describe()}")
    return settings


def find_installation(choice: "Choice") -> "Found | None":
    """The `hookline up` that a command works on; None: the settings say where. Raises `StartError`."""
    from pipeline.commands.installation.finding import find_by_itself, find_chosen

    return find_chosen(choice, os.environ) if choice.is_made else find_by_itself(os.environ, find_cwd())


def load_found(found: "Found | None") -> "Settings":
    """The settings of what was found. Raises `ConfigError`."""
    from pipeline.commands.installation.finding import list_set_aside, merge_settings
    from pipeline.config import load_settings

    if found is None:
        return load_settings(os.environ)
    for variable in list_set_aside(os.environ, found):
        say(f"{variable} is not used: the command line names {found.running.describe()}")
    return load_settings(merge_settings(os.environ, found))


def find_cwd() -> Path | None:
    """The working directory; None when it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


def say(line: str) -> None:
    """Say a line to a person; standard output is for results."""
    click.echo(line, err=True)


def _is_named() -> bool:
    from pipeline.commands.installation.finding import PLACES

    return any(name in os.environ for name in PLACES)


def _is_away(error: Exception) -> bool:
    from pipeline.kafka.listening import KafkaClosedError
    from pipeline.postgres.pool import DatabaseAwayError

    return isinstance(error, KafkaClosedError | DatabaseAwayError)


def say_found(found: "Found") -> None:
    """Name what was found where a person may not have thought of it."""
    from pipeline.commands.installation.finding import Origin

    if found.origin is Origin.ELSEWHERE:
        say(f"using {found.running.describe()} (profile {found.running.profile})")


def _say_not_joined() -> None:
    from pipeline.commands.installation.finding import describe_not_joined

    line = describe_not_joined(os.environ)
    if line is not None:
        say(line)


def _describe_change(changed: tuple[str, ...], settings: "Settings", found: "Found | None") -> str:
    places = []
    if KAFKA in changed:
        places.append(f"Kafka at {settings.kafka.bootstrap_servers}")
    if POSTGRES in changed:
        from pipeline.postgres.pool import describe_place

        places.append(f"PostgreSQL at {describe_place(settings.database.write_url.get_secret_value())}")
    where = " and ".join(places)
    return f"changing {where}" if found is None else f"changing {found.running.describe()}: {where}"
