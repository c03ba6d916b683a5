"""The machine that a result was measured on, so that it is not compared with another machine's by mistake."""

import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import msgspec
import psutil

import pipeline

GIB = 1024**3
GIT_TIMEOUT_S = 10.0
LOOPS, LOOP_ADDITIONS = 1000, 1000


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """`load_average`: of the last minute, before the run: other work of the machine."""

    cores: int
    cpu: str
    memory_gib: float
    system: str
    kernel: str
    python: str
    load_average: float


def describe_machine() -> Machine:
    """The one we are on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu=_read_cpu(),
        memory_gib=round(psutil.virtual_memory().total / GIB, 1),
        system=_read_system(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def measure_loop_us() -> float:
    """How long this machine takes for 1,000 additions in Python, now: the median of many.

    On a virtual machine, whose host has other guests, it may be twice as much as an hour ago: so are all costs then.
    """
    taken_ns = []
    for _ in range(LOOPS):
        started_ns = time.perf_counter_ns()
        total = 0
        for number in range(LOOP_ADDITIONS):
            total += number
        taken_ns.append(time.perf_counter_ns() - started_ns)
    return round(statistics.median(taken_ns) / 1000, 1)


def find_commit() -> str:
    """The commit of the source that runs, `(changed)` when it is not exactly that; the version outside a checkout."""
    folder = Path(pipeline.__file__).resolve().parents[1]
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return f"version {pipeline.__version__}"
    # results that are being written are no change of the product
    is_changed = _ask_git(folder, "status", "--porcelain", "--", "pipeline", "connectors", "schemas", "requirements")
    return f"{commit[:12]} (changed)" if is_changed else commit[:12]


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git is installed
            capture_output=True,
            check=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read_cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
