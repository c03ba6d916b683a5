"""A gateway's host may have a wrong clock: what it compares, shows and writes has the log's time."""

import re

from tests.support.processes import ROOT

HOST_CLOCK = re.compile(r"\b(?:datetime\.(?:now|today|utcnow)|date\.today|time\.time(?:_ns)?|wall_us)\(")


def test_a_gateway_asks_its_host_for_no_time_of_day() -> None:
    """`gateway.clock` is learned from Kafka's acknowledgements; the host's is what is handed in where there is none."""
    modules = list((ROOT / "pipeline/gateway").rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules
        for number, line in enumerate(path.read_text().split("\n"), 1)
        if HOST_CLOCK.search(line)
    ]

    assert len(modules) > 80
    assert [] == found
