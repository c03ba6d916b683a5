"""Alerts ask for metrics that exist, and each has a page that says what to do."""

import re
from typing import Any

import pytest
import yaml

from pipeline.metrics import FIRST_ATTEMPT_BUCKETS_S, LATENCY_BUCKETS_S
from tests.unit.contracts.metrics import find_problems, list_label_values, list_series
from tests.unit.contracts.processes import PROCESSES
from tests.unit.contracts.repository import ROOT
from tests.unit.contracts.routes import list_route_labels

PROMETHEUS = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
GROUPS = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())["groups"]
RECORDED = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((ROOT / "ops/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
RECORDED_NAME = re.compile(r"\bhookline:[a-z0-9_:]+")
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
RUNBOOKS = ROOT / "ops/runbooks"
SECTIONS = ["Meaning", "Likely causes", "What to look at", "What to do"]
SEVERITIES = {"page", "ticket"}
HEALTH_CHECK = re.compile(r"\bhealth\.(?:ready|alive|degraded)\[\"(\w+)\"\]")
SERIES = list_series()

alerts = pytest.mark.parametrize("alert", ALERTS)


@alerts
def test_an_alert_asks_for_what_exists(alert: str) -> None:
    """Metrics and labels are those of the catalogue; jobs are processes, routes are routes."""
    expression = ALERTS[alert]["expr"]

    assert [] == find_problems(expression, SERIES)
    assert set() == {job for text in list_label_values(expression, "job") for job in text.split("|")} - set(PROCESSES)
    assert set() == set(list_label_values(expression, "route")) - list_route_labels()


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_rule_asks_for_what_exists(name: str) -> None:
    """Metrics and labels are those of the catalogue, routes are routes; its name says that it is recorded."""
    assert RECORDED_NAME.fullmatch(name)
    assert [] == find_problems(RECORDED[name], SERIES)
    assert set() == set(list_label_values(RECORDED[name], "route")) - list_route_labels()


def test_what_is_asked_for_by_a_recorded_name_is_recorded() -> None:
    """Recorded names stand in alerts and runbooks."""
    texts = [rule["expr"] for rule in ALERTS.values()] + [page.read_text() for page in RUNBOOKS.iterdir()]
    asked = {name for text in texts for name in RECORDED_NAME.findall(text)}

    assert asked
    assert set() == asked - set(RECORDED)


def test_the_bounds_of_the_objectives_are_buckets() -> None:
    """A bound that no histogram has would make every event a miss, or none."""
    asked = {float(le) for text in RECORDED.values() for le in re.findall(r'le="([\d.]+)"', text)}

    assert asked <= {*LATENCY_BUCKETS_S, *FIRST_ATTEMPT_BUCKETS_S}


def test_where_the_runbooks_are_is_said() -> None:
    """An external label says it, and every alert's `runbook_url` begins with it."""
    assert (ROOT / PROMETHEUS["global"]["external_labels"]["runbooks"]) == RUNBOOKS


@alerts
def test_an_alert_has_a_runbook(alert: str) -> None:
    """A page of its name with every section; the annotation leads to it."""
    page = RUNBOOKS / f"{alert}.md"
    text = page.read_text()

    assert f"{{{{ $externalLabels.runbooks }}}}/{page.name}" == ALERTS[alert]["annotations"]["runbook_url"]
    assert text.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


def test_a_runbook_has_an_alert() -> None:
    """A page without an alert is out of date soon."""
    assert set(ALERTS) == {page.stem for page in RUNBOOKS.iterdir()}


@alerts
def test_an_alert_says_how_urgent_it_is_and_what_is_wrong(alert: str) -> None:
    """An alert has a label that routes it, and one sentence for who is woken; the expression has what it fills in."""
    rule = ALERTS[alert]
    filled_in = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = re.findall(r"\bby \(([^)]*)\)", rule["expr"])

    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"]
    if kept:
        assert filled_in <= {label.strip() for labels in kept for label in labels.split(",")}


def test_every_check_of_health_has_an_alert() -> None:
    """Checks of consumer groups have one of their own; the page of the one for all others names each of them."""
    sources = [path.read_text() for room in ("pipeline", "connectors") for path in (ROOT / room).rglob("*.py")]
    checks = {name for text in sources for name in HEALTH_CHECK.findall(text)}
    own = set(re.findall(r"\w*group", ALERTS["GroupUnconfirmed"]["expr"].partition("{")[2]))
    named = set(re.findall(r"`([\w-]+)`", (RUNBOOKS / "HealthProblem.md").read_text()))

    assert {"group", "producers_group"} == own
    assert set() == checks - own - named


def test_no_two_alerts_have_one_name() -> None:
    """Two alerts with one name would share a page, and silence each other."""
    assert sum(len(group["rules"]) for group in GROUPS) == len(ALERTS)


def test_a_process_is_a_job() -> None:
    """A job has its process' name, found by the service's name, at the port that containers serve metrics on."""
    jobs = {config["job_name"]: config["dns_sd_configs"] for config in PROMETHEUS["scrape_configs"]}

    assert list(PROCESSES) == list(jobs)
    for job, (found,) in jobs.items():
        assert [job] == found["names"]
        assert found["port"] == 9100


def test_the_rules_are_loaded() -> None:
    """The rules stand beside the file that names them, where the compose file puts both."""
    assert [] == [file for file in PROMETHEUS["rule_files"] if not (ROOT / "ops/prometheus" / file).exists()]
