"""The cost of events, for planning: taken from results of benchmarks, and kept in `figures.json` beside this module."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from bench.cases.scenario import FAN_OUT_CASE, LARGE_CASE, PLAIN_CASE, SATURATION_NAME
from bench.errors import BenchError
from bench.evaluation.result import CaseResult, ScenarioResult
from pipeline.core.capacity import SERVICES, Cost, Figures, fit_cost
from pipeline.core.process_kinds import PROCESS_KINDS

FILE = "figures.json"
US_PER_1000_S = 1000.0  # microseconds for one, of seconds for 1,000


def load_figures() -> Figures:
    """Load the figures that come with this version."""
    return msgspec.json.decode(files("bench").joinpath(FILE).read_bytes(), type=Figures)


def write_figures(figures: Figures, path: Path) -> None:
    """Write figures in the form in which they are kept."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def derive_figures(results: Sequence[ScenarioResult]) -> Figures:
    """Derive figures from a machine's saturation by three kinds of events. Raises `BenchError` for a missing case."""
    result = next((result for result in results if result.scenario == SATURATION_NAME), None)
    cases = {case.name: case for case in result.cases} if result is not None else {}
    missing = [name for name in (PLAIN_CASE, LARGE_CASE, FAN_OUT_CASE) if name not in cases]
    if result is None or missing:
        raise BenchError(f"there is no result of {SATURATION_NAME} with the cases {', '.join(missing)}")
    plain, large, wide = cases[PLAIN_CASE], cases[LARGE_CASE], cases[FAN_OUT_CASE]
    fan_out = _find_fan_out(wide)

    def fit(process: str, measure: Callable[[CaseResult], float]) -> Cost:
        return fit_cost(
            process,
            plain=measure(plain),
            large=measure(large),
            wide=measure(wide),
            plain_bytes=plain.payload_bytes_mean,
            large_bytes=large.payload_bytes_mean,
            fan_out=fan_out,
        )

    machine = result.machine
    others = max(phase.other_cores for case in (plain, large, wide) for phase in case.phases)
    return Figures(
        source=f"saturation of {machine.cores} cores of {machine.cpu} on {plain.started_at[:10]} at {result.commit}; "
        f"others on the machine kept up to {others:.1f} cores busy",
        cpu_us={
            process: fit(process, lambda case, process=process: _measure_cpu_us(case, process))  # type: ignore[misc]
            for process in (*PROCESS_KINDS, *SERVICES)
        },
        kafka_bytes=fit("kafka", lambda case: _measure_bytes(case, case.growth.kafka_bytes)),
        database_bytes=fit("postgres", lambda case: _measure_bytes(case, case.growth.database_bytes)),
        memory_mib={
            kind: max(case.growth.pss_mib_after.get(kind, 0.0) for case in result.cases)
            for kind in (*PROCESS_KINDS, *SERVICES)
        },
    )


def _measure_cpu_us(case: CaseResult, process: str) -> float:
    """Microseconds of one event; results count deliveries."""
    (phase,) = case.phases
    return phase.cpu_s_per_1000[process] * US_PER_1000_S * _find_fan_out(case)


def _measure_bytes(case: CaseResult, grown_bytes: int | None) -> float:
    if grown_bytes is None:
        raise BenchError(f"{case.name} was measured without its disks")
    return grown_bytes / max(1, sum(counts.accepted for counts in case.counts.values()))


def _find_fan_out(case: CaseResult) -> int:
    (group,) = case.case["groups"]
    fan_out: int = group["fan_out"]
    return fan_out
