"""Use of processor time and memory, by process, on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from bench.errors import BenchError

MIB = 1024 * 1024
# A server with a process for each connection. The others are one process each.
WITH_CHILDREN = frozenset({"postgres"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The use of all processes of one name and their children. `cpu_s`: since they started."""

    cpu_s: float
    rss_mib: float


@dataclass(slots=True)
class Meter:
    """Looks at processes. `pids`: by name; children belong to their parents."""

    pids: Mapping[str, Sequence[int]]
    _processes: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._processes = {name: [_find(name, pid) for pid in pids] for name, pids in self.pids.items()}

    def measure(self) -> dict[str, Usage]:
        """Measure the processes. Raises `BenchError` if one has ended: its usage is lost, and it should still run."""
        return {name: self._measure(name, processes) for name, processes in self._processes.items()}

    def measure_pss_mib(self) -> dict[str, float]:
        """Memory, shared pages counted in parts; of processes that allow it. Costs more than `measure`."""
        found: dict[str, float] = {}
        for name, processes in self._processes.items():
            total = 0
            try:
                for process in _list_family(name, processes):
                    total += process.memory_full_info().pss
            except psutil.Error:
                continue
            found[name] = total / MIB
        return found

    def _measure(self, name: str, processes: Sequence[psutil.Process]) -> Usage:
        cpu_s, rss = 0.0, 0
        for process in processes:
            if not process.is_running():
                raise BenchError(f"{name} (pid {process.pid}) ended while it was measured; see its log")
        for process in _list_family(name, processes):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # a child that ended meanwhile is in its parent's account
            cpu_s += times.user + times.system
            if name in WITH_CHILDREN:
                cpu_s += times.children_user + times.children_system  # of those that ended before
        return Usage(cpu_s=cpu_s, rss_mib=rss / MIB)


def measure_machine_cpu_s() -> float:
    """Processor time that all processes of this machine have used."""
    times = psutil.cpu_times()
    idle: float = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle)


def _find(name: str, pid: int) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise BenchError(f"{name} has no process {pid} on this machine") from None


def _list_family(name: str, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    family = list(processes)
    for process in processes if name in WITH_CHILDREN else ():
        try:
            family += process.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return family
