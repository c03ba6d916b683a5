import os

import pytest
from click.testing import CliRunner, Result

from bench.cases.catalogue import SCENARIOS
from bench.command import bench


def run_bench(*arguments: str) -> Result:
    """Run the command with no settings of the desk's."""
    desk = dict.fromkeys(name for name in os.environ if name.startswith("HOOKLINE_"))
    return CliRunner(env=desk).invoke(bench, arguments)


def test_the_scenarios_are_listed_with_their_cases() -> None:
    """The list shows the scenarios and cases to choose from."""
    run = run_bench("--list")

    assert 0 == run.exit_code
    for scenario in SCENARIOS:
        assert f"{scenario.name} " in run.output
        assert all(case.name in run.output for case in scenario.cases)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name scenarios, or say --all"),
        (["saturation", "--all"], "name scenarios, or say --all"),
        (["saturate"], "there is no scenario 'saturate'"),
        (["end-to-end", "--case", "7/s"], "there is no case '7/s'; there are 1,000/s, 1/s, 200/s, 50/s"),
        (["saturation", "--api", "http://127.0.0.1:9/api/v1"], "--api needs --master-key"),
        (["saturation", "--api", "x", "--master-key", "y", "--pid", "gateway"], "'gateway' is not NAME=VALUE"),
        (["saturation", "--api", "x", "--master-key", "y", "--pid", "gateway=x"], "'x' is no process id"),
        (["saturation", "--data-dir", "/nowhere"], "no `hookline up` runs in"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], message: str) -> None:
    """Nothing is started."""
    run = run_bench(*arguments)

    assert run.exit_code in (1, 2)
    assert message in run.output
    assert run.exception is None or isinstance(run.exception, SystemExit)
