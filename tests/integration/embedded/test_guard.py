"""A program under guard never outlives the process that started it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.embedded.data_dir import lock_directory
from pipeline.embedded.errors import EmbeddedError
from pipeline.embedded.guarded import Guarded, start_guarded
from pipeline.embedded.progress import keep_silent
from tests.integration.embedded.processes import is_gone
from tests.support.eventually import eventually

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
Start = Callable[..., Guarded]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program under guard in `tmp_path`, and stops it after the test."""
    started: list[Guarded] = []

    def start_program(*command: str, grace_s: float = 20.0) -> Guarded:
        with lock_directory(tmp_path, "program", keep_silent) as lock:
            started.append(
                start_guarded(
                    "program",
                    command,
                    stop_signal=signal.SIGTERM,
                    grace_s=grace_s,
                    log_file=tmp_path / "log",
                    lock=lock,
                )
            )
        return started[-1]

    yield start_program
    for guarded in started:
        guarded.stop(1.0)


def test_stopping_ends_the_program_and_its_guard(start: Start) -> None:
    """Program and guard are both gone after stop()."""
    guarded = start("/bin/sleep", "600")
    assert guarded.is_alive()

    guarded.stop(10.0)

    assert (guarded.is_alive(), is_gone(guarded.pid)) == (False, True)


async def test_a_program_that_ignores_the_stop_signal_is_killed(start: Start, tmp_path: Path) -> None:
    """The guard's grace has an end."""
    guarded = start(sys.executable, "-c", STUBBORN, grace_s=0.2)
    await eventually(lambda: "up" in (tmp_path / "log").read_text())

    guarded.stop(30.0)

    assert (guarded.guard.returncode, is_gone(guarded.pid)) == (128 + signal.SIGKILL, True)


async def test_an_impatient_stop_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    """The asker's patience is shorter than the guard's grace: the program is killed, not forgotten."""
    guarded = start(sys.executable, "-c", STUBBORN, grace_s=600.0)
    await eventually(lambda: "up" in (tmp_path / "log").read_text())

    guarded.stop(0.1)

    assert is_gone(guarded.pid)


async def test_a_killed_guard_takes_the_program_with_it(start: Start) -> None:
    """Kill -9 of the guard itself leaves nothing behind, either."""
    guarded = start("/bin/sleep", "600")

    guarded.guard.kill()

    await eventually(lambda: is_gone(guarded.pid))


async def test_a_guard_that_is_told_to_end_ends_the_program_first(start: Start) -> None:
    """SIGTERM to everything, as a container runtime does it, is an orderly stop."""
    guarded = start("/bin/sleep", "600")

    guarded.guard.terminate()

    await eventually(lambda: is_gone(guarded.pid) and not guarded.is_alive())


def test_the_program_is_out_of_reach_of_the_terminal(start: Start) -> None:
    """Ctrl-C goes to the foreground process group; the program is in another session, and stops when we say so."""
    guarded = start("/bin/sleep", "600")

    assert os.getsid(0) != os.getsid(guarded.pid)


async def test_a_program_sees_nothing_of_our_environment(start: Start, tmp_path: Path) -> None:
    """No key or password of ours gets into a service's environment."""
    start("/usr/bin/env")

    seen = await eventually(lambda: (tmp_path / "log").read_text().split())

    assert {"PATH", "LC_ALL"} == {line.partition("=")[0] for line in seen}


def test_a_program_that_cannot_run_says_why(start: Start) -> None:
    """The error carries the reason out of the log."""
    with pytest.raises(EmbeddedError, match=r"cannot run /nowhere/program: .*No such file"):
        start("/nowhere/program")


def test_a_program_that_ends_while_it_starts_says_why(start: Start) -> None:
    """The error carries the last words of the program."""
    guarded = start("/bin/ls", "/nowhere")

    with pytest.raises(EmbeddedError, match=r"program ended while starting\. (.*\n)*.*/nowhere.*No such file"):
        guarded.wait_until(lambda: False, timeout_s=30)


def test_a_directory_in_use_is_waited_for(start: Start, tmp_path: Path) -> None:
    """The lock lasts as long as the program, so that two never share their data: the second start waits."""
    guarded = start("/bin/sleep", "600", grace_s=1.0)
    said: list[str] = []

    def note(line: str) -> None:
        said.append(line)
        guarded.stop(10.0)

    with lock_directory(tmp_path, "program", note):
        assert is_gone(guarded.pid)

    assert [f"waiting for the program that still uses {tmp_path} ..."] == said
