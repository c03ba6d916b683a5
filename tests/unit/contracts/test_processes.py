"""One name for a process: of its sub-command, in its logs and metrics, of its consumer group, and in the documents."""

import re

import pytest

from tests.unit.contracts.processes import (
    PROCESSES,
    find_command,
    list_connectors,
    list_consumer_groups,
    read_process_name,
)
from tests.unit.contracts.repository import ROOT


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_called_like_its_sub_command(process: str) -> None:
    """A process that `hookline X` runs calls itself X, in logs, metrics and run files."""
    assert process == read_process_name(find_command(process))


def test_every_connector_is_a_process_that_is_started_with_the_others() -> None:
    """A new sink is also started by `hookline up`."""
    assert set() == list_connectors() - set(PROCESSES)


def test_a_process_is_called_like_its_consumer_group() -> None:
    """The name stands behind the prefix of the installation. Two readers name a group and are members of none."""
    assert {*PROCESSES, "view", "probe"} == list_consumer_groups()


def test_the_architecture_has_one_row_for_each_process() -> None:
    """Sub-command, service, group and dashboard row, all by that name."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| .* \| `hookline (\w+)` \| `(\w+)` \| `hookline\.(\w+)` \| (\w+) \|", text, re.MULTILINE)

    assert [(process,) * 4 for process in PROCESSES] == rows
