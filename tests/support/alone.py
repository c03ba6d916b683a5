"""Tests that assert times (`pytest.mark.alone`) have the machine to themselves: other workers wait meanwhile.

Between tests, in a worker that waits, its installations idle.
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MARK = "alone"


class Turns:
    """Turns of workers, agreed on through two files in a directory. The kernel releases the locks of one that dies."""

    def __init__(self, directory: Path) -> None:
        self._door = directory / "door"
        self._room = directory / "room"

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Take a place with others, or alone. A test that waits for the room to be empty keeps the door shut: none
        overtakes it.
        """
        with open_locked(self._room, None) as room:
            with open_locked(self._door, fcntl.LOCK_EX):
                fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


class AloneTests:
    """The plugin of a worker."""

    def __init__(self, directory: Path) -> None:
        self._turns = Turns(directory)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        with self._turns.take(alone=item.get_closest_marker(MARK) is not None):
            return (yield)


@contextmanager
def open_locked(path: Path, kind: int | None) -> Iterator[int]:
    """A descriptor, with a lock (fcntl.LOCK_EX) if one is asked for; closing it releases what it holds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        if kind is not None:
            fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        os.close(descriptor)
