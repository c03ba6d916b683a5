"""A directory that embedded services keep things in: writable, of the right version, and used by one at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.progress import Progress

# Longer than the guard's grace: after a kill -9 the next start waits for the former service to end in order.
LOCK_TIMEOUT_S = 30.0


def make_directory(path: Path) -> Path:
    """Create a directory that only we can read; its absolute path. Raises `EmbeddedError` if it cannot be written."""
    path = path.expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EmbeddedError(
            f"cannot write to {path} ({error.strerror}): give yourself access to it, or choose another directory"
        ) from error
    return path


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
