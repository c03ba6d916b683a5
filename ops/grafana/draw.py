"""Draws the dashboards with matplotlib from the answers to their queries: `make pictures`.

python ops/grafana/draw.py ANSWERS.json FOLDER

What Grafana would draw is imitated: the grid of panels, titles, units and legends. Needs requirements/pictures.txt.
The answers are collected by `tests/chaos/test_pictures.py`: dashboard → title of a panel → its lines, each a name and
points.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter
from PIL import Image

FOLDER = Path(__file__).resolve().parent
COLUMNS = 3
PANEL_INCHES = (5.4, 2.7)
DPI = 72
LINES_MAX = 8  # in a legend
COLOURS = 160  # of the palette: lines keep their colours, and a file is half as large
SIZES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def draw_dashboard(dashboard: dict[str, Any], answers: dict[str, list[Any]], file: Path) -> None:
    """One picture of a dashboard's panels, in their order."""
    panels = dashboard["panels"]
    begin = min(at for lines in answers.values() for _, points in lines for at, _ in points)
    end = max(at for lines in answers.values() for _, points in lines for at, _ in points)
    rows = -(-len(panels) // COLUMNS)
    size = (PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows + 0.4)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(dashboard["title"], fontweight="bold")
    for place in range(rows * COLUMNS):
        axes = grid[place // COLUMNS][place % COLUMNS]
        if place < len(panels):
            _draw_panel(axes, panels[place], answers[panels[place]["title"]])
            # a minute that began before the run is shown at its begin
            axes.set_xlim(begin, end)
        else:
            axes.set_axis_off()
    figure.savefig(file, dpi=DPI)
    pyplot.close(figure)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(file, optimize=True)


def _draw_panel(axes: Any, panel: dict[str, Any], lines: list[Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_title(panel["title"], fontsize=9)
    axes.grid(visible=True, linewidth=0.3)
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value, defaults["unit"])))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}"))
    for name, points in lines:
        # a point by itself is no line
        axes.plot(
            *zip(*points, strict=True), linewidth=1, label=name or "value", marker="." if len(points) < 20 else ""
        )
    if defaults.get("min") == 0:
        axes.set_ylim(bottom=0)
        if not any(value for _, points in lines for _, value in points):
            axes.set_ylim(top=1)
    if lines:
        axes.legend(*_shorten(axes.get_legend_handles_labels()), fontsize=6, loc="best", framealpha=0.6)
    else:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", transform=axes.transAxes)


def _shorten(legend: tuple[list[Any], list[str]]) -> tuple[list[Any], list[str]]:
    handles, names = legend
    return handles[:LINES_MAX], [f"{name[:44]}…" if len(name) > 45 else name for name in names[:LINES_MAX]]


def show(value: float, unit: str) -> str:
    """A value as Grafana shows it in this unit."""
    if unit == "percentunit":
        return f"{value * 100:g} %"
    if unit == "s":
        return f"{value * 1000:g} ms" if 0 < abs(value) < 1 else f"{value:g} s"
    factor, prefix = next(((size, sign) for size, sign in SIZES if abs(value) >= size), (1, ""))
    suffix = {"bytes": "B", "ops": "/s", "reqps": "/s", "cpm": "/min", "Bps": "B/s"}.get(unit, "")
    return f"{value / factor:g} {prefix}{suffix}".strip()


def main() -> None:
    """Write a picture of each dashboard into the folder."""
    collected = json.loads(Path(sys.argv[1]).read_text())
    for name, answers in collected.items():
        dashboard = json.loads((FOLDER / "dashboards" / f"{name}.json").read_text())
        draw_dashboard(dashboard, answers, Path(sys.argv[2], f"{name}.png"))


if __name__ == "__main__":
    main()
