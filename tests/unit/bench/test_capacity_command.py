import json
import os

import pytest
from click.testing import CliRunner, Result

from bench.capacity_command import MOST, capacity, format_bytes


def run_capacity(*arguments: str) -> Result:
    """Run the command with no settings of the desk's."""
    desk = dict.fromkeys(name for name in os.environ if name.startswith("HOOKLINE_"))
    return CliRunner(env=desk).invoke(capacity, arguments)


def test_a_plan_names_everything_one_has_to_provide() -> None:
    """Each process, partitions, disks, and where the figures are from; rules of thumb beside."""
    run = run_capacity("--events", "1000", "--fan-out", "2", "--retention-days", "10")

    assert 0 == run.exit_code, run.output
    for word in ("gateway", "matcher", "deliver", "archive", "partitions", "Kafka", "PostgreSQL", "(10 days)"):
        assert word in run.output
    assert "2 API servers (2,000 events/s each, at least 2), 20 workers (100 webhooks/s each, at least 1)" in run.output


def test_programs_get_one_object() -> None:
    """Each program gets an object with the load it is for."""
    run = run_capacity("--events", "50", "--json")
    plan = json.loads(run.output)

    assert 50.0 == plan["demand"]["events_per_s"]
    assert {"gateway", "matcher", "deliver", "archive"} == plan["capacity"]["needs"].keys()
    assert 2 == plan["capacity"]["rule_servers"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 MiB"), (1024**2 * 1.5, "1.5 MiB"), (1024**3, "1.0 GiB"), (1024**4 * 2000, "2,000.0 TiB")],
)
def test_sizes_are_readable(value: float, text: str) -> None:
    """A size is in the largest unit of which there is at least one."""
    assert text == format_bytes(value)


def test_a_load_has_to_be_given() -> None:
    """The command has no default load, since no load is typical."""
    run = run_capacity()

    assert 2 == run.exit_code
    assert "--events" in run.output


def test_any_number_that_is_taken_has_a_plan() -> None:
    """The largest of everything still is a plan in JSON; a larger one is a usage error."""
    words = ("--average-events", "--fan-out", "--payload-bytes", "--endpoint-ms", "--attempts", "--retention-days")
    most = [word for option in (*words, "--log-days", "--events") for word in (option, f"{MOST:g}")]
    run = run_capacity("--json", *most)

    assert 0 == run.exit_code, run.output
    assert json.loads(run.output)["capacity"]["partitions"] > 8
    assert 2 == run_capacity("--events", "1e10").exit_code
