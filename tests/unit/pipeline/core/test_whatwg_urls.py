"""The WHATWG's own cases (tests/data/whatwg_urls.json): what is sent is `pathname` and `search` of its URL standard."""

import json
from typing import Any

import pytest

from pipeline.core.network.destination import DestinationError, parse_destination
from tests.unit.contracts.repository import ROOT

CASES: list[dict[str, Any]] = json.loads((ROOT / "tests/data/whatwg_urls.json").read_text())
GOOD = [case for case in CASES if not case.get("failure")]
# What the standard allows and deliveries are not sent to: credentials, and names that no name server can answer for.
WITH_CREDENTIALS = [case for case in GOOD if case["username"] or case["password"]]
NO_NAMES = {".", "..", "foo.09..", "!\"$&'()*+,-.;=_`{}~"}
NAMELESS = [case for case in GOOD if case["hostname"] in NO_NAMES]
SENT = [case for case in GOOD if case not in WITH_CREDENTIALS and case not in NAMELESS]


@pytest.mark.parametrize("case", SENT, ids=lambda case: ascii(case["input"]))
def test_what_is_sent_is_what_the_standard_says(case: dict[str, Any]) -> None:
    """Host, port, path and query; nothing is quoted again."""
    destination = parse_destination(case["input"])
    port = int(case["port"] or {"http:": 80, "https:": 443}[case["protocol"]])

    assert case["pathname"] + case["search"] == destination.path
    assert case["hostname"].strip("[]").removesuffix(".") == destination.host
    assert (port, case["protocol"] == "https:") == (destination.port, destination.is_tls)


REFUSED = [case for case in CASES if case not in SENT]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: ascii(case["input"]))
def test_the_rest_is_refused(case: dict[str, Any]) -> None:
    """Texts that are no URL by the standard are refused, and the few that deliveries are not sent to."""
    with pytest.raises(DestinationError):
        parse_destination(case["input"])


def test_there_are_cases() -> None:
    """A file that lost its cases would pass."""
    assert (270, 99, 13, 4) == (len(CASES), len(SENT), len(WITH_CREDENTIALS), len(NAMELESS))
