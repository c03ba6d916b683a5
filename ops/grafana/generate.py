"""Writes Grafana's dashboards from `dashboards.yml`: `make docs`. A contract test compares them with what is committed.

python ops/grafana/generate.py
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.latency import LATENCY_BOUNDS_MS

FOLDER = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "hookline-prometheus"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "hookline-postgres"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
SELECTOR = re.compile(r"\b((?:hookline|process)_\w+)(?:\{([^}]*)\})?")
INSTANCE = 'instance=~"$instance"'
# Minutes in a point: as many as the width of the panel needs. Grafana fills in `$__interval_ms` and the two times.
STEP = "greatest(1, $__interval_ms / 60000)"
# `sqlstring` quotes what a viewer may write into the address of the page.
APPLICATION, SUBSCRIPTION = "${application:sqlstring}", "${subscription:sqlstring}"
OWN = f"application_id = {APPLICATION} and {SUBSCRIPTION} in ('all', subscription_id::text)"
APPLICATIONS = (
    "select name || ' ' || application_id as __text, application_id::text as __value from applications "
    "where deleted_at is null order by 1 limit 10000"
)
SUBSCRIPTIONS = (
    "select coalesce(nullif(description, ''), subscription_id::text) as __text, subscription_id::text as __value "
    f"from subscriptions where application_id = {APPLICATION} and deleted_at is null order by 1 limit 10000"
)


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
        "templating": {"list": _list_variables(described)},
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
        "panels": [
            _make_panel(number, panel, is_sql=described.get("source") == "postgres")
            for number, panel in enumerate(described["panels"])
        ],
    }


def _list_variables(described: dict[str, Any]) -> list[dict[str, Any]]:
    if described.get("source") != "postgres":
        return [_make_variable()]
    everything = {"includeAll": True, "allValue": "all", "current": {"text": "All", "value": "$__all"}}
    return [
        _make_sql_variable("application", APPLICATIONS) | {"includeAll": False},
        _make_sql_variable("subscription", SUBSCRIPTIONS) | everything,
    ]


def _make_sql_variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": POSTGRES,
        "query": query,
        "refresh": 1,
        "multi": False,
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


def _make_panel(number: int, panel: dict[str, Any], *, is_sql: bool) -> dict[str, Any]:
    line, column = divmod(number, COLUMNS)
    defaults = {
        "unit": panel["unit"],
        "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "auto" if is_sql else "never"},
    }
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel["title"],
        "description": panel["description"],
        "datasource": POSTGRES if is_sql else SOURCE,
        "gridPos": {"x": column * WIDTH, "y": line * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": defaults | ({} if panel.get("below_zero") else {"min": 0}), "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + place), **(_make_sql_target(query) if is_sql else _make_target(query))}
            for place, query in enumerate(panel["queries"])
        ],
    }


def _make_target(query: dict[str, Any]) -> dict[str, Any]:
    return {"datasource": SOURCE, "expr": select_instances(query["expr"]), "legendFormat": query["legend"]}


def _make_sql_target(query: dict[str, Any]) -> dict[str, Any]:
    """One row for a point: `time` in seconds, `metric` names its line, `value`."""
    sql = _select_latency(query["latency"]) if "latency" in query else _select_counts(query)
    return {"datasource": POSTGRES, "format": "time_series", "rawQuery": True, "editorMode": "code", "rawSql": sql}


def _select_counts(query: dict[str, Any]) -> str:
    """Sums over the rows of `attempt_minutes`, or over dead letters, in steps."""
    table = "attempt_minutes" if "minutes" in query else "dead_letters"
    line = query["minutes"] if "minutes" in query else query["dead_letters"]
    minute, times = _select_times(table)
    where = f" and {query['where']}" if "where" in query else ""
    value = query["value"].format(step=STEP)
    return (
        f"select {minute} / {STEP} * {STEP} * 60 as time, {line} as metric, ({value})::float8 as value "
        f"from {table} where {OWN} and {times}{where} group by 1, 2 order by 1, 2"
    )


def _select_times(table: str) -> tuple[str, str]:
    """The minute of a row, and the condition that selects the rows of the panel's time by an index."""
    if table == "attempt_minutes":
        return "minute", "minute between $__unixEpochFrom() / 60 and $__unixEpochTo() / 60"
    times = "died_at_us between $__unixEpochFrom()::bigint * 1000000 and $__unixEpochTo()::bigint * 1000000"
    return "died_at_us / 60000000", times


def _select_latency(shares: list[int]) -> str:
    """The bound of the bucket within which each share of the requests lies; beyond the last one, that one."""
    bounds = ", ".join(str(bound) for bound in (*LATENCY_BOUNDS_MS, LATENCY_BOUNDS_MS[-1]))
    minute, times = _select_times("attempt_minutes")
    values = ", ".join(f"({share})" for share in shares)
    return (
        f"with buckets as (select {minute} / {STEP} * {STEP} * 60 as time, bucket, sum(counted) as counted "
        "from attempt_minutes cross join unnest(latency) with ordinality as latencies (counted, bucket) "
        f"where {OWN} and {times} group by 1, 2), "
        "summed as (select time, bucket, sum(counted) over (partition by time order by bucket) as up_to, "
        "sum(counted) over (partition by time) as total from buckets) "
        "select time, 'p' || share as metric, "
        f"(array[{bounds}])[min(bucket)] / 1000.0::float8 as value "
        f"from summed cross join (values {values}) as shares (share) "
        "where total > 0 and up_to >= total * share / 100.0 group by 1, share order by 1, share"
    )


def select_instances(expression: str) -> str:
    """Restrict an expression to the chosen processes. Recording rules have no processes any more."""

    def select(found: re.Match[str]) -> str:
        labels = f"{found[2]}," if found[2] else ""
        return f"{found[1]}{{{labels}{INSTANCE}}}"

    return SELECTOR.sub(select, expression)


if __name__ == "__main__":
    for name, text in generate().items():
        (FOLDER / "dashboards" / name).write_text(text)
