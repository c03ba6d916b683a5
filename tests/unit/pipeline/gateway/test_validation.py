from typing import Any

import pytest

from pipeline.gateway.validation import Findings


def find_codes(findings: Findings, field: str) -> list[tuple[str, dict[str, Any]]]:
    validation: Any = findings.to_problem().validation
    return [(each["code"], each["params"]) for each in validation[field]]


@pytest.mark.parametrize("name", ["", "x" * 201, "ü" * 101])
def test_a_name_of_a_wrong_length_has_its_bounds(name: str) -> None:
    """A finding about a length has the bounds beside it, whatever the field is: programs show them."""
    findings = Findings()
    findings.check_event_type("event_type", name)
    findings.check_length("payload", "x", least=2, most=3)

    assert [("length", {"min": 1, "max": 200})] == find_codes(findings, "event_type")
    assert [("length", {"min": 2, "max": 3})] == find_codes(findings, "payload")


def test_what_has_no_bounds_has_none() -> None:
    """A control character has no bounds."""
    findings = Findings()
    findings.check_event_type("event_type", "a.\x01.c")

    assert [("non_control_character", {})] == find_codes(findings, "event_type")
