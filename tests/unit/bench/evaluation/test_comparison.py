"""Comparisons say better, worse or noise: of committed results, changed on purpose."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.evaluation.comparison import CPU, MEMORY, RATE, TAIL, Comparison, Kind, Verdict, compare, judge
from bench.evaluation.result import ScenarioResult

RESULTS = Path(__file__).resolve().parents[4] / "docs" / "benchmarks" / "results"


def read(**changes: float) -> list[ScenarioResult]:
    """The committed result of `saturation`; figures of its first case multiplied."""
    content: dict[str, Any] = msgspec.json.decode((RESULTS / "saturation.json").read_bytes())
    case = content["cases"][0]
    (phase,) = case["phases"]
    for name, factor in changes.items():
        if name == "loop_us":
            case["loop_us_before"] *= factor
            case["loop_us_after"] *= factor
        elif name == "cpu":
            phase["cpu_s_per_1000"] = {process: value * factor for process, value in phase["cpu_s_per_1000"].items()}
        elif name == "p99":
            phase["groups"]["all"]["delivery"]["p99"] *= factor
        else:
            phase["groups"]["all"][name] *= factor
    return [msgspec.convert(content, ScenarioResult)]


def changed(found: Comparison) -> dict[str, Verdict]:
    return {change.key[3]: change.verdict for change in found.changes if change.verdict != "noise"}


def test_a_run_is_not_better_than_itself() -> None:
    """Every figure is compared, none has changed."""
    found = compare([(read(), read())])

    assert len(found.changes) >= 20
    assert {} == changed(found)
    assert () == found.only == found.warnings


def test_what_is_slower_is_worse_and_the_other_way_round() -> None:
    """Fewer a second, more processor, a longer tail; only what has changed."""
    slower = read(delivered_per_s=0.8, cpu=1.3, p99=1.6)

    assert {"all: delivered": "worse", "processor": "worse", "all: delivery p99": "worse"} == changed(
        compare([(read(), slower)])
    )
    assert {"all: delivered": "better", "processor": "better", "all: delivery p99": "better"} == changed(
        compare([(slower, read())])
    )


@pytest.mark.parametrize(
    ("kind", "after", "speed", "expected"),
    [
        (RATE, 95, 1.0, "noise"),
        (RATE, 85, 1.0, "worse"),
        (RATE, 85, 1.2, "noise"),  # the machine is slower by as much
        (RATE, 100, 0.8, "noise"),  # as fast on a faster machine: worse only when corrected
        (RATE, 130, 1.0, "better"),
        (CPU, 125, 1.2, "noise"),
        (CPU, 150, 1.2, "worse"),
        (TAIL, 130, 1.0, "noise"),
        (TAIL, 140, 1.0, "worse"),
        (MEMORY, 120, 2.0, "worse"),  # memory does not follow the processor
    ],
)
def test_noise_and_the_machine_are_taken_out(kind: Kind, after: float, speed: float, expected: Verdict) -> None:
    """A change must be beyond the floor as it is, and when the machine's speed is taken out."""
    assert expected == judge(kind, [(100, after)], [speed])


def test_all_pairs_must_agree() -> None:
    """One pair that says nothing, or the opposite, makes it noise."""
    assert "worse" == judge(RATE, [(100, 80), (110, 85)], [1.0, 1.0])
    assert "noise" == judge(RATE, [(100, 80), (100, 99)], [1.0, 1.0])
    assert "noise" == judge(RATE, [(100, 80), (100, 130)], [1.0, 1.0])
    assert "noise" == judge(RATE, [(100, 80)], [1.0], floor=3.0)


def test_one_lost_event_is_worse() -> None:
    """Losses and repeats must not be: they have no noise."""
    content = msgspec.to_builtins(read()[0])
    next(iter(content["cases"][0]["counts"].values()))["lost"] = 1

    assert {"lost": "worse"} == changed(compare([(read(), [msgspec.convert(content, ScenarioResult)])]))


def test_the_exit_code_is_for_pipelines(tmp_path: Path) -> None:
    """0: not worse; 1: worse; 2: nothing in common, or no results."""
    for name, results in {"same": read(), "slow": read(delivered_per_s=0.5)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "saturation.json").write_bytes(msgspec.json.encode(results[0]))
    (tmp_path / "none").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "saturation.json").write_text("{}")

    def run(*names: str) -> int:
        arguments = [
            sys.executable,
            "-m",
            "pipeline.cli",
            "bench",
            "compare",
            *(str(tmp_path / name) for name in names),
        ]
        return subprocess.run(arguments, check=False, capture_output=True).returncode

    assert [0, 1, 0, 2] == [run("same", "same"), run("same", "slow"), run("slow", "same"), run("same", "none")]
    assert 2 == run("same", "wrong")
