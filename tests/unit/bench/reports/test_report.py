import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from bench.errors import BenchError
from bench.evaluation.result import ScenarioResult
from bench.reports.report import draw_plots, format_report
from bench.session import REPORT, read_results, write_result
from tests.unit.bench.results import make_case, make_result


def test_a_row_has_the_figures() -> None:
    """Rates, quantiles from intended sending to arrival, those of the acceptance, and processor time."""
    rows = [
        line for line in format_report([make_result()]).splitlines() if line.startswith("| 200/s | measured | all |")
    ]

    assert [
        "| 200/s | measured | all | 3 | 200 | 200 | 200 | 5.0 | 8.0 | 12.5 | 31.0 | 140 | 5.0 | 12.5 | 0.60 |"
    ] == rows


def test_it_says_what_was_measured_on_what() -> None:
    """Machine, commit, command, settings and payloads: figures without them are of no use."""
    page = format_report([make_result()])

    for part in (
        "2 cores of Sample CPU, 16 GiB, Sample OS, Linux 6, Python 3.11.7",
        "`hookline bench end-to-end` at 0123456789ab",
        "`HOOKLINE_KAFKA_PARTITIONS=16`",
        "generated payloads of 1,000 bytes",
    ):
        assert part in page


def test_problems_are_not_overlooked() -> None:
    """Problems stand under the tables, in bold."""
    page = format_report([make_result(make_case(problems=["all: 3 deliveries of accepted events were LOST"]))])

    assert "**200/s: all: 3 deliveries of accepted events were LOST**" in page


def test_what_was_not_measured_is_no_zero() -> None:
    """An installation somewhere else has neither processes nor disks here."""
    case = make_case()
    (phase,) = case.phases
    growth = msgspec.structs.replace(case.growth, database_bytes=None, kafka_bytes=None)
    elsewhere = msgspec.structs.replace(phase, cpu_s_per_1000={"generator": 0.1}, archived_per_s=None)
    page = format_report([make_result(make_case(phases=[elsewhere], growth=growth))])
    rows = [line for line in page.splitlines() if line.startswith("| 200/s | measured | all |")]

    assert ["–", "5.0"] == rows[0].split(" | ")[6:8]
    assert rows[0].endswith("| – |")


def test_every_plot_is_a_picture() -> None:
    """Latency, deliveries, processors, memory and lag of each case, and percentiles of all."""
    result = make_result(make_case("50/s"), make_case("1,000/s"))
    plots = draw_plots(result)

    assert 2 * 5 + 1 == len(plots)
    assert {"50-s-latency.svg", "1-000-s-lag.svg", "percentiles.svg"} <= plots.keys()
    for plot in plots.values():
        ElementTree.fromstring(plot)  # noqa: S314 - our own


def test_a_folder_holds_the_last_result_of_each_scenario(tmp_path: Path) -> None:
    """The report covers them all; what is read is what was written, without the points of the plots."""
    first, second = make_result(), make_result(scenario="saturation")
    for result in (make_result(make_case("old")), first, second):
        write_result(tmp_path, result)
    page = (tmp_path / REPORT).read_text()

    assert [drop_curves(first), drop_curves(second)] == read_results(tmp_path)
    assert ["## end-to-end", "## saturation"] == [line for line in page.splitlines() if line.startswith("## ")]
    assert not list(tmp_path.glob("plots/*/old-*.svg")), "pictures of a case that is gone"
    assert {"200/s"} == json.loads((tmp_path / "plots" / "saturation" / "curves.json").read_bytes()).keys()


def test_a_result_is_compact(tmp_path: Path) -> None:
    """A case is one line of its file, so that committed results stay small and can be compared."""
    write_result(tmp_path, make_result(make_case("50/s"), make_case("1,000/s")))

    assert 4 == len((tmp_path / "end-to-end.json").read_text().splitlines())


def drop_curves(result: ScenarioResult) -> ScenarioResult:
    return msgspec.structs.replace(result, cases=[msgspec.structs.replace(case, curves=None) for case in result.cases])


def test_a_result_of_another_version_is_told(tmp_path: Path) -> None:
    """The file is named before anything is measured."""
    (tmp_path / "saturation.json").write_text('{"format": 0}')

    with pytest.raises(BenchError, match=r"saturation\.json is no result of this version"):
        read_results(tmp_path)


def test_a_case_that_failed_is_told() -> None:
    """Others of the scenario are shown all the same."""
    result = msgspec.structs.replace(make_result(), failures=["1,000/s: archive (pid 7) ended while it was measured"])

    assert "**1,000/s: archive (pid 7) ended while it was measured**" in format_report([result])
