"""How long work is gathered, by how long the process waits for a processor."""

import time
from itertools import pairwise
from pathlib import Path

from pipeline.pressure import NS, Pressure, open_schedstat


class Machine:
    """A process on it runs for so long a second, and waits for so long before it does."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.ran_ns = self.waited_ns = 0

    def pass_time(self, seconds: float, *, ran: float, waited: float) -> None:
        """Let so many seconds pass, in each of which the process ran and waited for these shares."""
        self.now_s += seconds
        self.ran_ns += round(seconds * ran * NS)
        self.waited_ns += round(seconds * waited * NS)

    def make_pressure(self) -> Pressure:
        return Pressure(lambda: (self.ran_ns, self.waited_ns), lambda: self.now_s)


def gather(machine: Machine, pressure: Pressure, seconds: float, *, ran: float, waited: float) -> float:
    """How long is gathered at the end of so many seconds."""
    gathered_s = 0.0
    for _ in range(round(seconds * 20)):
        machine.pass_time(0.05, ran=ran, waited=waited)
        gathered_s = pressure.gather_s(0.1)
    return gathered_s


def test_nothing_is_gathered_where_nobody_waits() -> None:
    """A record goes out at once on a calm machine, however much of its own processor the process uses."""
    machine = Machine()
    pressure = machine.make_pressure()

    assert gather(machine, pressure, 10, ran=0.9, waited=0.05) == 0.0


def test_all_is_gathered_where_processors_are_short() -> None:
    """A process that waits nearly all of the time in which it wants to run gathers for as long as it may."""
    machine = Machine()
    pressure = machine.make_pressure()

    assert gather(machine, pressure, 10, ran=0.05, waited=0.95) > 0.099


def test_waking_each_other_is_no_shortage() -> None:
    """A process that waits as long as it runs gathers nothing: those that wake each other do on an idle machine."""
    machine = Machine()
    pressure = machine.make_pressure()

    assert gather(machine, pressure, 10, ran=0.3, waited=0.3) == 0.0


def test_between_the_two_there_is_no_jump() -> None:
    """A little more waiting is a little more gathering: latencies have no two levels between which chance decides."""
    gathered = []
    for waited in range(0, 100, 2):
        machine = Machine()
        gathered.append(gather(machine, machine.make_pressure(), 10, ran=0.1, waited=waited / 100))

    steps = [later - earlier for earlier, later in pairwise(gathered)]
    assert all(0.0 <= step < 0.012 for step in steps)
    assert gathered[-1] > 0.09


def test_a_burst_is_forgotten() -> None:
    """Seconds after a burst records go out at once again."""
    machine = Machine()
    pressure = machine.make_pressure()
    assert gather(machine, pressure, 5, ran=0.05, waited=0.9) > 0.05

    assert gather(machine, pressure, 3, ran=0.3, waited=0.01) == 0.0


def test_a_process_that_hardly_runs_says_little() -> None:
    """One unlucky wake-up a second of an idle process is no shortage."""
    machine = Machine()
    pressure = machine.make_pressure()

    assert gather(machine, pressure, 10, ran=0.001, waited=0.003) == 0.0


def test_without_the_kernels_figures_nothing_is_gathered(tmp_path: Path) -> None:
    """Where the kernel does not say how long a process waits, everything goes out at once."""
    pressure = Pressure(open_schedstat(str(tmp_path / "missing")), time.monotonic)

    assert pressure.gather_s(0.1) == 0.0
