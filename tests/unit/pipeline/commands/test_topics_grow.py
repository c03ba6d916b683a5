"""`hookline topics grow`: refused, with the way that is safe."""

import re

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands.topics import GROW
from tests.unit.contracts.repository import ROOT


@pytest.mark.parametrize(
    ("wanted", "code", "said"), [("8", 0, "nothing to do"), ("32", 2, "the next event of an appl")]
)
def test_growing_in_place_is_refused(wanted: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The present number is nothing to do; another number would let events overtake each other."""
    monkeypatch.delenv("HOOKLINE_TEST_KAFKA", raising=False)
    monkeypatch.delenv("HOOKLINE_TEST_DATABASE", raising=False)
    result = CliRunner().invoke(cli, ["topics", "grow", wanted])

    assert code == result.exit_code
    assert said in result.output


def test_the_way_names_the_new_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are to be copied: prefix and number."""
    monkeypatch.delenv("HOOKLINE_TEST_KAFKA", raising=False)
    monkeypatch.delenv("HOOKLINE_TEST_DATABASE", raising=False)
    monkeypatch.setenv("HOOKLINE_KAFKA_TOPIC_PREFIX", "shop.")
    result = CliRunner().invoke(cli, ["topics", "grow", "16"])

    for words in ("topics apply", "doctor --heal"):
        assert f"HOOKLINE_KAFKA_TOPIC_PREFIX=shop.16. HOOKLINE_KAFKA_PARTITIONS=16 hookline {words}\n" in result.output


def test_the_way_is_that_of_the_page() -> None:
    """The page explains the same steps: each setting and command of the one is in the other."""
    page = (ROOT / "docs/topics-grow.md").read_text()
    words = re.compile(r"HOOKLINE_\w+|hookline (?:topics|doctor|ledger)[ \w-]*")

    assert {each.strip() for each in words.findall(GROW)} <= {each.strip() for each in words.findall(page)}
    assert 5 == len(re.findall(r"^  \d\. ", GROW, re.MULTILINE)) == len(re.findall(r"^\d\. ", page, re.MULTILINE))
