"""Reading Prometheus' text format, as far as a benchmark needs it. Pure."""

from collections.abc import Iterator
from typing import NamedTuple


class Series(NamedTuple):
    """One line. `labels` as they stand there, without the braces."""

    name: str
    labels: str
    value: float


def read_series(text: str) -> Iterator[Series]:
    """Every series of a page."""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, value = line.rpartition(" ")
        name, _, labels = head.partition("{")
        yield Series(name, labels.removesuffix("}"), float(value))


def total(text: str, name: str, label: str = "") -> float:
    """The sum of all series of a name that have this label, as `table="attempts"`."""
    return sum(series.value for series in read_series(text) if series.name == name and label in series.labels)
