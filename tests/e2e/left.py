"""Processes that a data directory has left running."""

import os
from pathlib import Path

import psutil

from tests.support.processes import describe, is_running


def find_left(data_dir: Path) -> list[str]:
    """All processes of the machine that have to do with a data directory, by command line or settings."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(str(data_dir) in word for word in words) and process.pid != os.getpid() and is_running(process):
            found.append(describe(process))
    return found
