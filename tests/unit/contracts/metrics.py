"""The catalogue of metrics as Prometheus sees it, and what expressions ask of it."""

import re
from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram

from pipeline.metrics import Metrics

NAME = re.compile(r"\bhookline_[a-z0-9_]+")
SELECTOR = re.compile(r"(hookline_[a-z0-9_]+|\bup)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"([^\"]*)\"")
GROUPED = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
# Added by Prometheus when it reads from a process, and by histograms.
ADDED = frozenset({"job", "instance"})


def list_series() -> dict[str, frozenset[str]]:
    """Name of a time series → its labels."""
    series: dict[str, frozenset[str]] = {}
    for metric in vars(Metrics("test")).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            labels = ADDED | set(metric._labelnames)  # noqa: SLF001 - the library has no other way to ask
            for name in _list_names(metric, family.name):
                series[name] = labels | {"le"} if name.endswith("_bucket") else labels
    return series


def find_problems(expression: str, series: dict[str, frozenset[str]]) -> list[str]:
    """Find what an expression asks for and no process has."""
    names = set(NAME.findall(expression))
    problems = [f"there is no metric {name}" for name in sorted(names - series.keys())]
    for name, selector in SELECTOR.findall(expression):
        known = series.get(name, ADDED)
        problems += [f"{name} has no label {label}" for label, _ in LABEL.findall(selector) if label not in known]
    known = ADDED.union(*(series.get(name, frozenset()) for name in names))
    grouped = {label.strip() for labels in GROUPED.findall(expression) for label in labels.split(",")}
    return problems + [f"nothing in it has the label {label}" for label in sorted(grouped - known - {""})]


def list_label_values(expression: str, label: str) -> list[str]:
    """List the values that an expression compares `label` with."""
    return [
        value
        for _, selector in SELECTOR.findall(expression)
        for found, value in LABEL.findall(selector)
        if found == label
    ]


def _list_names(metric: Counter | Gauge | Histogram, family: str) -> Iterator[str]:
    match metric:
        case Counter():
            yield f"{family}_total"
        case Histogram():
            yield from (f"{family}_{part}" for part in ("bucket", "sum", "count"))
        case Gauge():
            yield family
