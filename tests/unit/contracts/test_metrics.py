"""The reader of expressions itself: it must be able to say no."""

import re

import pytest

from pipeline.metrics import DEAD_REASONS
from tests.unit.contracts.metrics import find_problems, list_series
from tests.unit.contracts.repository import list_files, name

# where a dead letter's reason is chosen
REASON = re.compile(
    r"""(?:(?:Unreadable|GiveUp)\(\s*reason=|PayloadMissingError\(|_refuse\(event, |"""
    r"""(?:_letter_row|give_up)\(record, |"""
    r"""reason [!=]= |^REASON = )"""
    r'''"(\w+)"''',
    re.MULTILINE,
)

SERIES = {
    "hookline_a_total": frozenset({"job", "instance", "topic"}),
    "hookline_b_bucket": frozenset({"job", "instance", "le"}),
}


@pytest.mark.parametrize(
    "expression",
    [
        'sum by (topic) (rate(hookline_a_total{topic="x", job=~"a|b"}[5m]))',
        "histogram_quantile(0.5, sum by (le) (rate(hookline_b_bucket[1m])))",
        'up{job="gateway"} == 0',
    ],
)
def test_what_exists_is_no_problem(expression: str) -> None:
    """Names and labels, those that Prometheus adds among them."""
    assert [] == find_problems(expression, SERIES)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("hookline_a", "there is no metric hookline_a"),
        ('hookline_a_total{reason="x"}', "hookline_a_total has no label reason"),
        ("sum by (tier) (hookline_a_total)", "nothing in it has the label tier"),
        ('up{process="x"}', "up has no label process"),
    ],
)
def test_what_does_not_exist_is_named(expression: str, problem: str) -> None:
    """A misspelled name would be an empty panel, and an alert that never fires."""
    assert [problem] == find_problems(expression, SERIES)


def test_every_reason_of_a_dead_letter_is_in_the_catalogue() -> None:
    """Reasons in the code are counted from 0 on, and the catalogue has no other ones."""
    written = {
        reason
        for path in list_files()
        if path.suffix == ".py"
        and name(path).startswith(("pipeline/core/", "pipeline/matcher/", "pipeline/kafka/", "connectors/"))
        for reason in REASON.findall(path.read_text())
    }

    assert set(DEAD_REASONS) == written


def test_the_catalogue_has_series_of_every_kind() -> None:
    """Counters end in _total, histograms have three series, gauges one."""
    series = list_series()

    assert {"job", "instance", "topic"} == series["hookline_kafka_produced_total"]
    assert {"hookline_match_seconds_bucket", "hookline_match_seconds_sum", "hookline_match_seconds_count"} <= set(
        series
    )
    assert "hookline_in_flight" in series
    assert "hookline_match_seconds" not in series
