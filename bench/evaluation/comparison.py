"""Is one run better or worse than another, or is that noise? Pure.

A figure has changed when it differs by more than its floor in every pair of runs, in one direction; and still does
when the speed of the machine, which every run measures before and after (`loop_us`), is taken out. A pair is a run
before and one after a change, made one right after the other: three pairs tell more than one.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.evaluation.result import CaseResult, GroupFigures, PhaseFigures, ScenarioResult

Verdict = Literal["better", "worse", "noise"]
Key = tuple[str, str, str, str]  # scenario, case, phase, figure


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of figure. `floor`: relative change that is noise: two runs of the same code differ by as much.

    `goes_with_loop`: how it follows `loop_us` (1: as it does, -1: inversely, 0: not at all).
    """

    unit: str
    floor: float
    is_more_better: bool
    goes_with_loop: int


RATE = Kind("/s", 0.10, is_more_better=True, goes_with_loop=-1)
CPU = Kind("CPU s per 1,000", 0.10, is_more_better=False, goes_with_loop=1)
MEDIAN = Kind("ms", 0.20, is_more_better=False, goes_with_loop=1)
TAIL = Kind("ms", 0.35, is_more_better=False, goes_with_loop=1)
MEMORY = Kind("MiB", 0.15, is_more_better=False, goes_with_loop=0)
LOST = Kind("", 0.0, is_more_better=False, goes_with_loop=0)
# below this a latency is timer and scheduler
LATENCY_MIN_MS = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in all pairs: before, after, and what to make of it."""

    key: Key
    kind: Kind
    pairs: tuple[tuple[float, float], ...]
    verdict: Verdict

    @property
    def ratio(self) -> float:
        """Divide after by before; the median of the pairs."""
        return statistics.median(_divide(after, before) for before, after in self.pairs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`changes`: of the figures that all runs have. `only`: scenario and case that not all of them have."""

    changes: tuple[Change, ...]
    only: tuple[str, ...]
    warnings: tuple[str, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(change.verdict == verdict for change in self.changes)


def compare(
    pairs: Sequence[tuple[Iterable[ScenarioResult], Iterable[ScenarioResult]]], *, floor: float = 1.0
) -> Comparison:
    """Compare runs, each all results of a folder. `floor`: factor on what counts as noise."""
    read = [(dict(_each_case(before)), dict(_each_case(after))) for before, after in pairs]
    sides = [side for pair in read for side in pair]
    names = set().union(*sides)
    common = sorted(name for name in names if all(name in side for side in sides))
    changes = []
    for name in common:
        figures = [(dict(_each_figure(before[name])), dict(_each_figure(after[name]))) for before, after in read]
        speeds = [_divide(_speed(after[name]), _speed(before[name])) for before, after in read]
        shared = [key for key in figures[0][0] if all(key in side for pair in figures for side in pair)]
        for key in shared:
            kind = figures[0][0][key][0]
            values = tuple((before[key][1], after[key][1]) for before, after in figures)
            changes.append(Change((*name, *key), kind, values, judge(kind, values, speeds, floor=floor)))
    only = tuple(" / ".join(name) for name in sorted(names - set(common)))
    return Comparison(tuple(changes), only, tuple(_each_warning(sides)))


def judge(kind: Kind, pairs: Sequence[tuple[float, float]], speeds: Sequence[float], *, floor: float = 1.0) -> Verdict:
    """`speeds`: `loop_us` after by before, of each pair."""
    signs = set()
    for (before, after), speed in zip(pairs, speeds, strict=True):
        ratio = _divide(after, before)
        # what the machine alone would have made of it
        corrected = ratio / speed**kind.goes_with_loop
        signs |= {_sign(ratio, kind.floor * floor), _sign(corrected, kind.floor * floor)}
    if signs == {1}:
        return "better" if kind.is_more_better else "worse"
    if signs == {-1}:
        return "worse" if kind.is_more_better else "better"
    return "noise"


def _sign(ratio: float, floor: float) -> int:
    """Return the direction of a change beyond its floor, or 0: as a factor, twice and half are equally far."""
    if ratio > 1 + floor:
        return 1
    return -1 if ratio < 1 / (1 + floor) else 0


def _divide(after: float, before: float) -> float:
    if before == after:
        return 1.0
    return after / before if before else float("inf")


def _speed(case: CaseResult) -> float:
    return (case.loop_us_before + case.loop_us_after) / 2


def _each_case(results: Iterable[ScenarioResult]) -> Iterator[tuple[tuple[str, str], CaseResult]]:
    for result in results:
        for case in result.cases:
            yield (result.scenario, case.name), case


def _each_figure(case: CaseResult) -> Iterator[tuple[tuple[str, str], tuple[Kind, float]]]:
    for phase in case.phases:
        for figure, value in _each_of_phase(phase):
            yield (phase.name, figure), value
    yield ("all", "lost"), (LOST, float(sum(group.lost for group in case.counts.values())))
    yield ("all", "memory at the end"), (MEMORY, _add(case.growth.pss_mib_after or case.growth.rss_mib_after))


def _each_of_phase(phase: PhaseFigures) -> Iterator[tuple[str, tuple[Kind, float]]]:
    for name, group in phase.groups.items():
        yield f"{name}: accepted", (RATE, group.accepted_per_s)
        yield f"{name}: delivered", (RATE, group.delivered_per_s)
        yield from _each_latency(name, group)
    if phase.archived_per_s is not None:
        yield "archived", (RATE, phase.archived_per_s)
    yield "processor", (CPU, _add(phase.cpu_s_per_1000))


def _each_latency(name: str, group: GroupFigures) -> Iterator[tuple[str, tuple[Kind, float]]]:
    for what, latency in (("acceptance", group.acceptance), ("delivery", group.delivery)):
        if latency is not None:
            yield f"{name}: {what} p50", (MEDIAN, max(latency.p50, LATENCY_MIN_MS))
            yield f"{name}: {what} p99", (TAIL, max(latency.p99, LATENCY_MIN_MS))


def _add(by_process: Mapping[str, float]) -> float:
    return round(sum(by_process.values()), 4)


def _each_warning(sides: Sequence[Mapping[tuple[str, str], CaseResult]]) -> Iterator[str]:
    for side in sides:
        for (scenario, name), case in side.items():
            for problem in case.problems:
                yield f"{scenario} / {name}: {problem}"
