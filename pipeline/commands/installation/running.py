"""The `hookline up`s that run: how each is listed for commands in other directories, and how it is read.

Addresses, keys and passwords are in files of the data directory that only its user can read. The list, in the user's
state directory, has names and places only. Whether one runs says the lock that it holds: a file outlives a kill -9.
"""

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pipeline.commands.up.data_directory import run_dir
from pipeline.commands.up.report import Report, read_report
from pipeline.embedded.data_dir import write_private

DATA_DIR = ".hookline"
SETTINGS_FILE = "settings.json"
PROFILE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A `hookline up` that runs. `settings`: the variables that its processes have, secrets among them."""

    root: Path
    report: Report
    settings: Mapping[str, str]

    @property
    def profile(self) -> str:
        return self.report.profile

    def describe(self) -> str:
        """Name the installation in a sentence."""
        return f"the `hookline up` in {self.root}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A data directory without a `hookline up` to be used; `reason` None: there is nothing of one.

    `profile`: as it is listed.
    """

    root: Path
    reason: str | None
    profile: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the list."""

    data_dir: str
    profile: str


def look(root: Path) -> Running | Unusable:
    """Look for a `hookline up` in a data directory."""
    is_held, report = _is_held(root), read_report(root)
    if is_held and report is not None and (settings := _read_settings(root)) is not None:
        return Running(root=root, report=report, settings=settings)
    reason = None
    if is_held is None:
        reason = f"{root} belongs to another user, and so does what runs there"
    elif is_held:
        reason = f"the `hookline up` in {root} is starting or stopping: run this again once it says that it runs"
    elif report is not None:
        reason = (
            f"the `hookline up` in {root} ended without tidying up (it was killed, or the machine restarted): start it "
            f"again with `hookline up --data-dir {root}`, or set HOOKLINE_KAFKA_BOOTSTRAP_SERVERS and "
            "HOOKLINE_DATABASE_WRITE_URL to use another installation"
        )
    return Unusable(root=root, reason=reason)


def is_ours(root: Path) -> bool:
    """Did this user start what is there? A directory of another one, in /tmp for example, could name any services."""
    try:
        return run_dir(root).stat().st_uid == os.geteuid()
    except OSError:
        return False


def list_found(environ: Mapping[str, str]) -> list[Running | Unusable]:
    """List this user's `hookline up`s, in the order of their profiles; entries of those that are gone are removed."""
    found: dict[tuple[str, Path], Running | Unusable] = {}
    for file, entry in _list_entries(environ):
        looked = look(Path(entry.data_dir))
        if isinstance(looked, Unusable) and looked.reason is None:
            with contextlib.suppress(OSError):
                file.unlink()
            continue
        if isinstance(looked, Unusable):
            looked = replace(looked, profile=entry.profile)
        found[entry.profile, looked.root] = looked
    return [found[key] for key in sorted(found)]


def list_profiles(environ: Mapping[str, str]) -> list[str]:
    """List the profiles of those that run, for completion."""
    return sorted({each.profile for each in list_found(environ) if isinstance(each, Running)})


def publish_running(root: Path, settings: Mapping[str, str]) -> None:
    """Leave the settings in the data directory. Raises `OSError`."""
    write_private(run_dir(root) / SETTINGS_FILE, msgspec.json.encode(dict(settings)).decode() + "\n")


def add_entry(environ: Mapping[str, str], root: Path, profile: str) -> None:
    """List an installation, so that commands in other directories find it. Raises `OSError`."""
    folder = _list_dir(environ)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    entry = Entry(data_dir=str(root), profile=profile)
    write_private(folder / _name_entry(root), msgspec.json.encode(entry).decode() + "\n")


def remove_entry(environ: Mapping[str, str], root: Path) -> None:
    """Take an installation off the list, and its settings away: it stops."""
    folder = _list_dir(environ)
    for file in (run_dir(root) / SETTINGS_FILE, *([folder / _name_entry(root)] if folder is not None else [])):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def choose_profile(root: Path) -> str:
    """The profile of a data directory that was given none: the name of the directory that it is in."""
    name = root.parent.name if root.name == DATA_DIR else root.name
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return words[:63] or "hookline"


def find_profile_dir(environ: Mapping[str, str], profile: str) -> Path | None:
    """The data directory of a profile that has no other one; None when this user has no home."""
    home = _find_base(environ, "XDG_DATA_HOME", ".local/share")
    return None if home is None else home / "hookline" / profile


def _is_held(root: Path) -> bool | None:
    """Does a `hookline up` hold the directory? None: this user may not know."""
    try:
        descriptor = os.open(root / "lock", os.O_RDONLY)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read_settings(root: Path) -> dict[str, str] | None:
    try:
        return msgspec.json.decode((run_dir(root) / SETTINGS_FILE).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return None


def _list_entries(environ: Mapping[str, str]) -> Iterator[tuple[Path, Entry]]:
    folder = _list_dir(environ)
    if folder is None:
        return
    for file in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            yield file, msgspec.json.decode(file.read_bytes(), type=Entry)


def _list_dir(environ: Mapping[str, str]) -> Path | None:
    base = _find_base(environ, "XDG_STATE_HOME", ".local/state")
    return None if base is None else base / "hookline" / "running"


def _find_base(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    given = Path(environ.get(variable, ""))
    if given.is_absolute():
        return given
    try:
        return Path.home() / below_home
    except RuntimeError:
        return None


def _name_entry(root: Path) -> str:
    return f"{hashlib.sha256(str(root).encode(errors='surrogateescape')).hexdigest()[:16]}.json"
