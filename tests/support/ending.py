"""The end of a run by SIGTERM, or by a kill: no process of it stays.

SIGTERM interrupts a run as Ctrl-C does, so that fixtures are torn down and services stopped; execnet kills workers
before their fixtures had a turn. `reaper.py` ends what is left then, and what a killed run leaves.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Never
from uuid import uuid4

import pytest

from tests.support.reaper import VARIABLE

REAPER = Path(__file__).with_name("reaper.py")


class Ending:
    """The plugin of a run, or of a distributed run's controller."""

    def __init__(self) -> None:
        run = os.environ[VARIABLE] = uuid4().hex
        self._reaper = subprocess.Popen(
            [sys.executable, str(REAPER), run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # without the variable, and out of reach of signals to the run's group
            env={name: value for name, value in os.environ.items() if name != VARIABLE},
            start_new_session=True,
        )

    def interrupt(self, number: int, frame: FrameType | None) -> Never:
        """Have the run's processes ended while it ends in order itself."""
        assert self._reaper.stdin is not None
        os.write(self._reaper.stdin.fileno(), b"\n")
        interrupt(number, frame)

    def pytest_unconfigure(self) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait()


def interrupt(_: int, __: FrameType | None) -> Never:
    """Interrupt a run as Ctrl-C does, once: a second signal would end the tearing down."""
    signal.signal(signal.SIGTERM, ignore)
    raise KeyboardInterrupt


def ignore(_: int, __: FrameType | None) -> None:
    """Do nothing. SIG_IGN would be inherited by programs that are started meanwhile."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    handler: Callable[[int, FrameType | None], Never] = interrupt
    if not hasattr(config, "workerinput"):
        ending = Ending()
        config.pluginmanager.register(ending, "ending")
        handler = ending.interrupt
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
