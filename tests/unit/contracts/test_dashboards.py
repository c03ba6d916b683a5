"""Dashboards show metrics that exist, a row for each process."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.unit.contracts.compose import read_filled_in
from tests.unit.contracts.metrics import ADDED, find_problems, list_label_values, list_series
from tests.unit.contracts.processes import PROCESSES
from tests.unit.contracts.repository import ROOT, name
from tests.unit.contracts.routes import list_route_labels

GRAFANA = ROOT / "ops/grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/hookline.json").read_text())
SERIES = list_series()
INTERVAL = "$__rate_interval"

files = pytest.mark.parametrize("file", FILES, ids=name)


@files
def test_panels_ask_for_what_exists(file: Any) -> None:
    """Metrics and labels are those of the catalogue; routes are routes; a legend shows labels that are kept."""
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", ()):
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
    """By its uid: a name can be another one elsewhere."""
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    asked = {
        target["datasource"]["uid"]
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", ())
    }

    assert {source["uid"] for source in provisioned} == asked


def test_a_process_is_a_row() -> None:
    """By the same name, in the order in which an event passes them."""
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]

    assert list(PROCESSES) == rows


def test_a_row_shows_its_own_process() -> None:
    """An expression that names a job stands in that job's row, and below the row's place on the page."""
    row, top = "", 0
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            row, top = panel["title"], panel["gridPos"]["y"]
            continue
        jobs = {job for target in panel["targets"] for job in list_label_values(target["expr"], "job")}
        assert jobs <= {row}, panel["title"]
        assert panel["gridPos"]["y"] > top, panel["title"]


def test_panels_do_not_cover_each_other() -> None:
    """On Grafana's grid of 24 columns."""
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
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
