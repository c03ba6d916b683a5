"""A directory that embedded services keep things in: writable, of the right version, and used by one at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.progress import Progress

# Longer than the guard's grace: after a kill -9 the next start waits for the former service to end in order.
LOCK_TIMEOUT_S = 30.0


def make_directory(path: Path, *, setting: str | None = None) -> Path:
    """Create a directory that only we can read; its absolute path. Raises `EmbeddedError` if it cannot be written.

    `setting`: the variable that chooses another one.
    """
    path = expand(path, setting=setting)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / ".writable"
        # a full disk takes an empty file
        probe.write_bytes(b"writable\n")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            (path / ".writable").unlink()
        chosen = f" ({setting})" if setting is not None else ""
        raise EmbeddedError(
            f"cannot write to {path} ({error.strerror}): make room or give yourself access to it, or choose another "
            f"directory{chosen}"
        ) from error
    return path


def expand(path: Path, *, setting: str | None = None) -> Path:
    """The absolute path, with `~` as the home. Raises `EmbeddedError` when this user has none."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        chosen = f": set {setting}, or HOME" if setting is not None else ": set HOME"
        raise EmbeddedError(f"{path} is in the home directory, and this user has none{chosen}") from error


def write_private(path: Path, text: str) -> None:
    """Write aside with mode 0600, then rename: a full disk leaves what was there before, and no half of a file."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error  # writing names no file by itself
    partial.rename(path)


@contextmanager
def lock_directory(path: Path, name: str, progress: Progress, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[int]:
    """Lock the directory; yields a file descriptor, whose heirs keep the lock. Raises `EmbeddedError`."""
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _try_lock(descriptor):
            progress(f"waiting for the {name} that still uses {path} ...")
            deadline_s = time.monotonic() + timeout_s
            while not _try_lock(descriptor):
                if time.monotonic() > deadline_s:
                    raise EmbeddedError(
                        f"another {name} uses {path}: stop the hookline that started it, or choose another directory"
                    )
                time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_version(file: Path, version: str, what: str) -> None:
    """Check the version of the data. Raises `EmbeddedError` unless `file` names `version` or a patch release of it."""
    if not file.exists():
        return
    found = file.read_text().strip()
    if found != version and not found.startswith(f"{version}."):
        raise EmbeddedError(
            f"{file.parent} holds data of {what} {found}, this is {version}: choose another data directory, "
            "or remove that one if its data is not needed"
        )
