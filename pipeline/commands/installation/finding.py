"""The choice of the installation that a command works on.

1. The one that --profile or --data-dir names, whatever the environment says of Kafka's and PostgreSQL's places.
2. The one that the environment names. A `hookline up` elsewhere than it says is never mixed into it.
3. The `hookline up` of the working directory or of the nearest one above it, otherwise the only one of this user.
4. The defaults of the settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pipeline.commands.installation.running import (
    DATA_DIR,
    PROFILE_PATTERN,
    Running,
    Unusable,
    find_profile_dir,
    is_ours,
    list_found,
    look,
)
from pipeline.config import PREFIX
from pipeline.start_error import StartError

KAFKA_VARIABLE = "HOOKLINE_KAFKA_BOOTSTRAP_SERVERS"
DATABASE_VARIABLE = "HOOKLINE_DATABASE_WRITE_URL"
# They say which installation is meant, and belong together.
PLACES = (KAFKA_VARIABLE, DATABASE_VARIABLE, "HOOKLINE_DATABASE_READ_URLS")
# Either of them holds the keys.
SEALING_KEYS = ("HOOKLINE_SEALING_KEYS", "HOOKLINE_SEALING_KEY_FILE")
CHOOSE = "choose with --profile NAME or --data-dir DIR, or run this in the directory of one of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The words of the command line; None: not given."""

    profile: str | None = None
    data_dir: Path | None = None

    @property
    def is_made(self) -> bool:
        return self.profile is not None or self.data_dir is not None


class Origin(Enum):
    """The way an installation was found."""

    CHOSEN = "chosen"
    HERE = "here"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A `hookline up`, and how it was found."""

    running: Running
    origin: Origin


def find_chosen(choice: Choice, environ: Mapping[str, str]) -> Found:
    """The one that the command line names. Raises `StartError`."""
    if choice.data_dir is not None and choice.profile is not None:
        raise StartError("--profile and --data-dir both name an installation: give one of them")
    if choice.data_dir is not None:
        return Found(running=require(choice.data_dir.expanduser().absolute()), origin=Origin.CHOSEN)
    assert choice.profile is not None  # noqa: S101 - a choice is made
    return Found(running=_find_profile(choice.profile, environ), origin=Origin.CHOSEN)


def find_by_itself(environ: Mapping[str, str], cwd: Path | None) -> Found | None:
    """The one that runs, unless settings name another; None: the settings hold.

    Raises `StartError` when there are several, or a dead one.
    """
    if KAFKA_VARIABLE in environ and DATABASE_VARIABLE in environ:
        return None
    is_named = any(variable in environ for variable in PLACES)
    here = _find_here(cwd)
    if isinstance(here, Running) and _fits(here, environ):
        return Found(running=here, origin=Origin.HERE)
    if isinstance(here, Unusable) and not is_named:
        raise StartError(here.reason)
    listed = list_found(environ)
    running = [each for each in listed if isinstance(each, Running) and _fits(each, environ)]
    if len(running) == 1:
        return Found(running=running[0], origin=Origin.ELSEWHERE)
    if running:
        raise StartError(f"{len(running)} `hookline up` run: {_enumerate(running)}: {CHOOSE}")
    dead = [each for each in listed if isinstance(each, Unusable)]
    if dead and not is_named:
        raise StartError(dead[0].reason)
    return None


def describe_not_joined(environ: Mapping[str, str]) -> str | None:
    """Say how a process would join what runs; None: nothing runs."""
    profiles = [each.profile for each in list_found(environ) if isinstance(each, Running)]
    if not profiles:
        return None
    which = "the" if len(profiles) == 1 else f"any of the {len(profiles)}"
    ways = " or ".join(f"--profile {each}" for each in profiles)
    return f"not joining {which} `hookline up` that run{'s' if len(profiles) == 1 else ''}: {ways} would"


def require(root: Path) -> Running:
    """The `hookline up` in a data directory. Raises `StartError`."""
    looked = look(root)
    if isinstance(looked, Running):
        return looked
    raise StartError(looked.reason or f"no `hookline up` runs in {root}; `hookline profiles` lists those that run")


def merge_settings(environ: Mapping[str, str], found: Found) -> dict[str, str]:
    """The environment of a command that works on it: its settings, and above them the environment's own.

    Of the places those of the installation hold: either the environment agrees, or the command line has chosen.
    """
    own = {name: value for name, value in environ.items() if name not in PLACES}
    base = dict(found.running.settings)
    if any(name in own for name in SEALING_KEYS):
        for name in SEALING_KEYS:
            base.pop(name, None)
    return base | own


def list_set_aside(environ: Mapping[str, str], found: Found) -> list[str]:
    """List the variables of the environment that name another place than the installation that was chosen."""
    return [name for name in PLACES if name in environ and environ[name] != found.running.settings.get(name)]


def _find_profile(profile: str, environ: Mapping[str, str]) -> Running:
    listed = list_found(environ)
    running = [each for each in listed if isinstance(each, Running)]
    named = [each for each in running if each.profile == profile]
    if len(named) == 1:
        return named[0]
    if named:
        places = ", ".join(str(each.root) for each in named)
        raise StartError(f"{len(named)} `hookline up` have the profile {profile}: {places}: choose with --data-dir DIR")
    own = find_profile_dir(environ, profile) if PROFILE_PATTERN.fullmatch(profile) else None
    if own is not None:
        looked = look(own)
        if isinstance(looked, Running):
            return looked
        if looked.reason is not None:
            raise StartError(looked.reason)
    for each in listed:
        if isinstance(each, Unusable) and each.profile == profile:
            raise StartError(each.reason)
    others = f"those that run: {_enumerate(running)}" if running else "none runs"
    raise StartError(f"no `hookline up` with the profile {profile} runs; {others}")


def _find_here(cwd: Path | None) -> Running | Unusable | None:
    if cwd is None:
        return None
    for directory in (cwd, *cwd.parents):
        root = directory / DATA_DIR
        if is_ours(root):
            looked = look(root)
            if isinstance(looked, Running) or looked.reason is not None:
                return looked
    return None


def _fits(running: Running, environ: Mapping[str, str]) -> bool:
    return all(running.settings.get(name) == environ[name] for name in PLACES if name in environ)


def _enumerate(running: list[Running]) -> str:
    return ", ".join(f"{each.profile} in {each.root}" for each in running)


def select_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Select what a `hookline up` hands on to commands: not what belongs to one process, and files by whole paths."""
    return {
        name: str(Path(value).absolute()) if name.endswith("_FILE") else value
        for name, value in environ.items()
        if name.startswith(PREFIX) and not name.startswith(_OF_A_PROCESS)
    }


_OF_A_PROCESS = (f"{PREFIX}PROCESS_", f"{PREFIX}EMBEDDED_", f"{PREFIX}GATEWAY_PORT")
