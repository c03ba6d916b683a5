"""The place where a `hookline up` keeps its data, and its name: from its options."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.installation.finding import Choice
from pipeline.commands.installation.running import DATA_DIR, PROFILE_PATTERN, choose_profile, find_profile_dir
from pipeline.embedded.data_dir import expand
from pipeline.start_error import StartError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A data directory, absolute, and the profile by which commands find it."""

    data_dir: Path
    profile: str


def choose_place(choice: Choice, environ: Mapping[str, str]) -> Place:
    """The directory that is named, that of the profile, or `.hookline` here. Raises `StartError`, `EmbeddedError`."""
    profile, data_dir = choice.profile, choice.data_dir
    if profile is not None and not PROFILE_PATTERN.fullmatch(profile):
        raise StartError(f"--profile {profile!r}: a name has letters, digits, dots, dashes and underscores, at most 63")
    if data_dir is None and profile is not None:
        data_dir = find_profile_dir(environ, profile)
        if data_dir is None:
            raise StartError("--profile keeps its data in the home directory, and this user has none: give --data-dir")
    root = expand(data_dir or Path(DATA_DIR))
    return Place(data_dir=root, profile=profile or choose_profile(root))
