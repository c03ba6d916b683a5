"""Ends what a run of tests leaves behind. A script: the run starts it, and holds the other end of its standard input.

A byte there means that the run was asked to end, and that its processes are to end soon; the end of the input, that the
run is over, by whatever signal. Processes of a run are known by a variable of their environment. Embedded services have
guards of their own.
"""

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

VARIABLE = "TESTS_RUN"
GRACE_S = 5.0
KILLED_WITHIN_S = 20.0
LOOK_INTERVAL_S = 0.1


def main(run: str) -> None:
    """Wait for the end of the run, and end its processes."""
    if os.read(sys.stdin.fileno(), 1):
        end(run)
        os.read(sys.stdin.fileno(), 1)
    end(run)


def end(run: str) -> None:
    """Send SIGTERM to all processes of the run, and SIGKILL to those that are there `GRACE_S` later.

    A process that the kernel keeps even then does not keep the run.
    """
    asked: set[psutil.Process] = set()
    deadline_s = time.monotonic() + GRACE_S
    while (left := set(find_processes(run))) and time.monotonic() < deadline_s + KILLED_WITHIN_S:
        for process in left:
            if time.monotonic() > deadline_s:
                send(process, is_kill=True)
            elif process not in asked:
                send(process, is_kill=False)
        asked |= left
        time.sleep(LOOK_INTERVAL_S)


def find_processes(run: str) -> "Iterator[psutil.Process]":
    """Find all processes of the run, wherever their parents are."""
    import psutil  # imported here: one of these sits in memory beside every run

    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == run and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:  # it has ended, or is another user's
            continue


def send(process: "psutil.Process", *, is_kill: bool) -> None:
    """Send SIGTERM or SIGKILL to a process, which may have ended."""
    import psutil

    try:
        process.kill() if is_kill else process.terminate()
    except psutil.Error:
        return


if __name__ == "__main__":
    os.environ.pop(VARIABLE, None)
    main(sys.argv[1])
