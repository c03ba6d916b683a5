from pathlib import Path

import msgspec
import pytest

from bench.capacity_figures import derive_figures, load_figures, write_figures
from bench.cases.scenario import FAN_OUT_CASE, LARGE_CASE, PLAIN_CASE, SATURATION_NAME
from bench.errors import BenchError
from bench.evaluation.result import CaseResult
from pipeline.core.capacity import SERVICES, Figures
from pipeline.core.process_kinds import PROCESS_KINDS
from tests.unit.bench.results import make_case, make_result

PROCESSES = (*PROCESS_KINDS, *SERVICES)


def make_saturation(
    name: str, *, fan_out: int = 1, payload_bytes: float = 1000.0, cpu_s: float, size: int
) -> CaseResult:
    """`cpu_s`: for 1,000 deliveries, of each process; `size`: bytes of an event, on each disk."""
    case = make_case(name)
    (phase,) = case.phases
    counts = msgspec.structs.replace(case.counts["all"], accepted=100)
    return make_case(
        name,
        case={"groups": [{"fan_out": fan_out}]},
        payload_bytes_mean=payload_bytes,
        phases=[msgspec.structs.replace(phase, cpu_s_per_1000=dict.fromkeys(PROCESSES, cpu_s))],
        counts={"all": counts},
        growth=msgspec.structs.replace(case.growth, kafka_bytes=100 * size, database_bytes=100 * size),
    )


CASES = (
    make_saturation(PLAIN_CASE, cpu_s=0.1, size=3000),
    make_saturation(LARGE_CASE, payload_bytes=9000.0, cpu_s=0.18, size=11_000),
    make_saturation(FAN_OUT_CASE, fan_out=10, cpu_s=0.055, size=12_000),
)


def test_figures_come_from_the_saturation_of_a_machine() -> None:
    """The gateway: 100 µs for an event of 1 KB, 80 more for 8 KB more, 550 for one that goes to ten."""
    figures = derive_figures([make_result(), make_result(*CASES, scenario=SATURATION_NAME)])
    gateway = figures.cpu_us["gateway"]

    assert (40.0, 50.0, 10.0) == pytest.approx((gateway.per_event, gateway.per_delivery, gateway.per_kb))
    assert set(PROCESSES) == figures.cpu_us.keys() == figures.memory_mib.keys()
    assert 1000.0 == pytest.approx(figures.database_bytes.per_kb)
    assert 500.0 == pytest.approx(figures.kafka_bytes.per_kb), "Kafka holds the payload twice"
    assert 60.0 == figures.memory_mib["deliver"]
    assert "Sample CPU" in figures.source


def test_a_case_that_is_missing_is_named() -> None:
    """The error names the case; half of the figures would mislead."""
    with pytest.raises(BenchError, match=FAN_OUT_CASE):
        derive_figures([make_result(*CASES[:2], scenario=SATURATION_NAME)])


def test_the_figures_of_this_version_are_complete(tmp_path: Path) -> None:
    """The file holds every figure, and is written as it is read."""
    figures = load_figures()
    path = tmp_path / "figures.json"
    write_figures(figures, path)

    assert set(PROCESSES) == figures.cpu_us.keys() == figures.memory_mib.keys()
    assert all(cost.per_event + cost.per_delivery > 0 for cost in figures.cpu_us.values())
    assert figures == msgspec.json.decode(path.read_bytes(), type=Figures)
