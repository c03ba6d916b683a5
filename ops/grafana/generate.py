"""Writes Grafana's dashboards from `dashboards.yml`: `make docs`. A contract test compares them with what is committed.

python ops/grafana/generate.py
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "hookline-prometheus"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
SELECTOR = re.compile(r"\b((?:hookline|process)_\w+)(?:\{([^}]*)\})?")
INSTANCE = 'instance=~"$instance"'


def generate() -> dict[str, str]:
    """Name of a file → its text."""
    catalogue = yaml.safe_load((FOLDER / "dashboards.yml").read_text())
    return {f"{each['file']}.json": json.dumps(_make_dashboard(each), indent=1) + "\n" for each in catalogue}


def _make_dashboard(described: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": described["file"] if described["file"] == "hookline" else f"hookline-{described['file']}",
        "title": f"Hookline: {described['title']}",
        "description": described["description"],
        "tags": ["hookline"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_make_variable()]},
        "annotations": {"list": []},
        # to the others, by their tag, with the same time and the same processes
        "links": [
            {
                "type": "dashboards",
                "title": "Hookline",
                "tags": ["hookline"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": [_make_panel(number, panel) for number, panel in enumerate(described["panels"])],
    }


def _make_variable() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "process",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": "label_values(hookline_process_info, instance)", "refId": "instance"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _make_panel(number: int, panel: dict[str, Any]) -> dict[str, Any]:
    line, column = divmod(number, COLUMNS)
    defaults = {"unit": panel["unit"], "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel["title"],
        "description": panel["description"],
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": line * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": defaults | ({} if panel.get("below_zero") else {"min": 0}), "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": select_instances(query["expr"]),
                "legendFormat": query["legend"],
            }
            for place, query in enumerate(panel["queries"])
        ],
    }


def select_instances(expression: str) -> str:
    """The same of the chosen processes. Recording rules have no processes any more."""

    def select(found: re.Match[str]) -> str:
        labels = f"{found[2]}," if found[2] else ""
        return f"{found[1]}{{{labels}{INSTANCE}}}"

    return SELECTOR.sub(select, expression)


if __name__ == "__main__":
    for name, text in generate().items():
        (FOLDER / "dashboards" / name).write_text(text)
