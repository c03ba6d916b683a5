"""Dashboards are what is generated, and show metrics that exist."""

import json
import re
from typing import Any

import pytest
import yaml

from ops.grafana.generate import generate
from tests.unit.contracts.compose import read_filled_in
from tests.unit.contracts.metrics import ADDED, find_problems, list_label_values, list_series
from tests.unit.contracts.repository import ROOT, name
from tests.unit.contracts.routes import list_route_labels

GRAFANA = ROOT / "ops/grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
SERIES = list_series()
SQL_SOURCE = "hookline-postgres"


def is_sql(target: dict[str, Any]) -> bool:
    """Does the panel ask PostgreSQL?"""
    return bool(target["datasource"]["uid"] == SQL_SOURCE)


files = pytest.mark.parametrize("file", FILES, ids=name)


@files
def test_panels_ask_for_what_exists(file: Any) -> None:
    """Metrics and labels are those of the catalogue; routes are routes; a legend shows labels that are kept."""
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", ()):
            if is_sql(target):
                continue  # tests/integration/postgres/test_tenant_dashboard.py asks a real PostgreSQL
            expression = target["expr"]
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {
                label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")
            }

            assert [] == find_problems(expression, SERIES), panel["title"]
            assert set() == set(list_label_values(expression, "route")) - list_route_labels(), panel["title"]
            assert set() == legend - kept - ADDED, panel["title"]


@files
def test_panels_have_something_to_show(file: Any) -> None:
    """An id of their own, targets, a unit, and a sentence on what they mean."""
    panels = json.loads(file.read_text())["panels"]

    assert len(panels) == len({panel["id"] for panel in panels})
    for panel in panels:
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@files
def test_panels_ask_the_source_that_is_provisioned(file: Any) -> None:
    """Both name a source by its uid: the name of one can differ elsewhere."""
    files = (GRAFANA / "provisioning/datasources").glob("*.yml")
    provisioned = {
        (source["uid"], source["type"]) for each in files for source in yaml.safe_load(each.read_text())["datasources"]
    }
    asked = {
        (target["datasource"]["uid"], target["datasource"]["type"])
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", ())
    }

    assert 1 == len(asked)
    assert asked <= provisioned


def test_they_are_what_is_generated() -> None:
    """`make docs` writes them from ops/grafana/dashboards.yml; nothing else lies there."""
    assert generate() == {file.name: file.read_text() for file in FILES}


def test_every_dashboard_leads_to_the_others() -> None:
    """A common tag links them, with the same time and the same processes; their ids and titles differ."""
    assert len(FILES) == len({each["uid"] for each in DASHBOARDS.values()})
    assert len(FILES) == len({each["title"] for each in DASHBOARDS.values()})
    for each in DASHBOARDS.values():
        (link,) = each["links"]
        assert link["tags"] == each["tags"]
        assert link["includeVars"]
        assert link["keepTime"]


def test_a_panel_is_on_one_dashboard() -> None:
    """Nothing is shown twice, and a title says which panel it is."""
    titles = [panel["title"] for each in DASHBOARDS.values() for panel in each["panels"]]

    assert len(titles) == len(set(titles))


def test_an_application_and_a_subscription_can_be_chosen() -> None:
    """Every query of PostgreSQL is of one application; Grafana quotes what a viewer chose."""
    targets = [
        target
        for each in DASHBOARDS.values()
        for panel in each["panels"]
        for target in panel["targets"]
        if is_sql(target)
    ]

    assert ["application", "subscription"] == [each["name"] for each in DASHBOARDS["tenant"]["templating"]["list"]]
    assert 8 == len(targets)
    for target in targets:
        assert "where application_id = ${application:sqlstring}" in target["rawSql"]
        assert set() == set(re.findall(r"\$\{\w+(?::(?!sqlstring)\w+)?\}", target["rawSql"]))


def test_processes_can_be_chosen() -> None:
    """Every query of a process' own series goes by the variable; recording rules have no processes any more."""
    for each in DASHBOARDS.values():
        if is_sql(each["panels"][0]["targets"][0]):
            continue
        assert ["instance"] == [variable["name"] for variable in each["templating"]["list"]]
        for panel in each["panels"]:
            for target in panel["targets"]:
                series = re.findall(r"\b(?:hookline|process)_\w+", target["expr"])
                assert len(series) == target["expr"].count('instance=~"$instance"'), panel["title"]
                assert series or "hookline:" in target["expr"], panel["title"]


def test_recording_rules_that_are_shown_exist() -> None:
    """A rule that was renamed would leave its panel empty."""
    groups = yaml.safe_load((ROOT / "ops/prometheus/rules.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    shown = {
        name
        for each in DASHBOARDS.values()
        for panel in each["panels"]
        for target in panel["targets"]
        if not is_sql(target)
        for name in re.findall(r"\bhookline:[\w:]+", target["expr"])
    }

    assert shown
    assert shown <= recorded


@files
def test_panels_do_not_cover_each_other(file: Any) -> None:
    """The grid is Grafana's, of 24 columns."""
    cells = [
        (x, y)
        for panel in DASHBOARDS[file.stem]["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_dashboards_lie_where_grafana_is_told_to_look() -> None:
    """The provisioning file, and the compose file that puts the folder there."""
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/hookline.yml").read_text())["providers"]
    volumes = read_filled_in()["services"]["grafana"]["volumes"]

    assert f"./ops/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    assert "./ops/grafana/provisioning:/etc/grafana/provisioning:ro" in volumes
