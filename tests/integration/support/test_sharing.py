import fcntl
import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.alone import Turns
from tests.support.sharing import Services, ask


@contextmanager
def keep_log(path: str) -> Iterator[str]:
    """A service whose starts and stops can be read."""
    log = Path(path)
    with log.open("a") as file:
        file.write("started\n")
    yield f"address of {log.name}"
    with log.open("a") as file:
        file.write("stopped\n")


@contextmanager
def fail_to_start() -> Iterator[str]:
    raise OSError("no room")
    yield ""


@pytest.fixture
def socket_path() -> Iterator[str]:
    """The path is in a short directory: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="hookline-test-sharing-") as directory:
        yield f"{directory}/socket"


def test_workers_share_one_service(socket_path: str, tmp_path: Path) -> None:
    """The service is started once, however many ask at once, and stopped when the run ends."""
    path = tmp_path / "log"
    with Services(socket_path), ThreadPoolExecutor(8) as workers:
        addresses = list(workers.map(lambda _: ask(socket_path, keep_log, str(path)), range(8)))
        while_running = path.read_text()

    assert addresses == ["address of log"] * 8
    assert while_running == "started\n"
    assert path.read_text() == "started\nstopped\n"


def test_services_of_other_arguments_are_others(socket_path: str, tmp_path: Path) -> None:
    """A template belongs to the server on which it was made."""
    with Services(socket_path):
        addresses = [ask(socket_path, keep_log, str(tmp_path / name)) for name in ("a", "b")]

    assert addresses == ["address of a", "address of b"]


def test_a_service_that_does_not_start_fails_who_asked(socket_path: str) -> None:
    """The error has the reason, which was raised in another process."""
    with Services(socket_path), pytest.raises(RuntimeError, match=re.escape("OSError: no room")):
        ask(socket_path, fail_to_start)


def test_one_that_is_alone_waits_and_is_waited_for(tmp_path: Path) -> None:
    """An `alone` test begins when those before it have ended, and those that come meanwhile begin when it has ended."""
    turns, order = Turns(tmp_path), list[str]()
    inside, leave, waits = threading.Event(), threading.Event(), threading.Event()

    def be_first() -> None:
        with turns.take(alone=False):
            inside.set()
            leave.wait(30)
            order.append("first")

    def be_alone() -> None:
        inside.wait(30)
        waits.set()
        with turns.take(alone=True):
            order.append("alone")

    def be_last() -> None:
        waits.wait(30)
        while not is_locked(tmp_path / "door"):
            pass
        leave.set()
        with turns.take(alone=False):
            order.append("last")

    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda run: run(), (be_first, be_alone, be_last)))

    assert ["first", "alone", "last"] == order


def test_others_run_side_by_side(tmp_path: Path) -> None:
    """Two that need not be alone are in at the same time."""
    turns, together = Turns(tmp_path), threading.Barrier(2)

    def meet() -> int:
        with turns.take(alone=False):
            return together.wait(30)

    with ThreadPoolExecutor(2) as workers:
        assert {0, 1} == set(workers.map(lambda _: meet(), range(2)))


def is_locked(path: Path) -> bool:
    """Does a process hold it?"""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
