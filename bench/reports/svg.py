"""Plots as SVG: lines over time, and latency over its percentiles. Pure; no library, no script inside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 34, 40
# names, so that they are understood without a legend at hand; distinct also to those who do not see all colours
COLOURS = (
    "steelblue",
    "darkorange",
    "seagreen",
    "crimson",
    "slateblue",
    "saddlebrown",
    "hotpink",
    "gray",
    "olive",
    "teal",
    "goldenrod",
    "black",
)
TICKS = 5
NINES = ((0.0, "min"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"))

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """`marks`: what begins where, on the x axis. `is_logarithmic`: the y axis."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[Point]]
    marks: Mapping[str, float]
    is_logarithmic: bool = False


def draw(plot: Plot) -> str:
    """The document."""
    points = [point for line in plot.lines.values() for point in line]
    x_most = max((x for x, _ in points), default=1.0) or 1.0
    y_axis = _Axis.fit([y for _, y in points], is_logarithmic=plot.is_logarithmic)
    ticks = [(x, _format(x)) for x in _choose_ticks(x_most) if x <= x_most]
    return _draw(plot, x_most=x_most, x_ticks=ticks, y_axis=y_axis, marks=plot.marks)


def draw_percentiles(title: str, curves: Mapping[str, Sequence[Point]]) -> str:
    """Latency in milliseconds over the share of events that it does not exceed; each nine is as wide as the next."""
    lines = {name: [(_stretch(share), ms) for share, ms in curve] for name, curve in curves.items()}
    plot = Plot(title=title, x_label="share of events", y_label="ms", lines=lines, marks={}, is_logarithmic=True)
    y_axis = _Axis.fit([y for line in lines.values() for _, y in line], is_logarithmic=True)
    ticks = [(_stretch(share), name) for share, name in NINES]
    return _draw(plot, x_most=_stretch(NINES[-1][0]), x_ticks=ticks, y_axis=y_axis, marks={})


@dataclass(frozen=True, slots=True)
class _Axis:
    """The y axis: from values to places."""

    least: float
    most: float
    is_logarithmic: bool

    @classmethod
    def fit(cls, values: Sequence[float], *, is_logarithmic: bool) -> "_Axis":
        most = max(values, default=1.0) or 1.0
        if not is_logarithmic:
            return cls(0.0, _choose_ticks(most)[-1], is_logarithmic)
        least = min((value for value in values if value > 0), default=most)
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return cls(10.0**low, 10.0 ** max(high, low + 1), is_logarithmic)

    def place(self, value: float) -> float:
        """Place a value between 0 at the bottom and 1 at the top."""
        if not self.is_logarithmic:
            return value / self.most
        value = max(value, self.least)
        return math.log10(value / self.least) / math.log10(self.most / self.least)

    def ticks(self) -> list[float]:
        if not self.is_logarithmic:
            return _choose_ticks(self.most)
        decades = round(math.log10(self.most / self.least))
        return [self.least * 10.0**number for number in range(decades + 1)]


def _draw(
    plot: Plot, *, x_most: float, x_ticks: Sequence[tuple[float, str]], y_axis: _Axis, marks: Mapping[str, float]
) -> str:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(x: float) -> float:
        return LEFT + width * x / x_most

    def y_of(y: float) -> float:
        return TOP + height * (1 - y_axis.place(y))

    bottom = TOP + height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 18, plot.title, size=13),
        _text(LEFT + width / 2, HEIGHT - 8, plot.x_label, anchor="middle"),
        _text(8, TOP - 10, plot.y_label),
    ]
    for y in y_axis.ticks():
        parts.append(_line(LEFT, y_of(y), LEFT + width, y_of(y), "gainsboro"))
        parts.append(_text(LEFT - 6, y_of(y) + 4, _format(y), anchor="end"))
    parts += [_text(x_of(x), bottom + 16, label, anchor="middle") for x, label in x_ticks]
    for name, x in marks.items():
        parts.append(_line(x_of(x), TOP, x_of(x), bottom, "silver"))
        parts.append(_text(x_of(x) + 3, TOP + 10, name, colour="gray"))
    for number, (name, points) in enumerate(plot.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_line(LEFT + width + 10, TOP + 8 + 16 * number, LEFT + width + 26, TOP + 8 + 16 * number, colour))
        parts.append(_text(LEFT + width + 30, TOP + 12 + 16 * number, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, colour: str = "black") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _choose_ticks(most: float) -> list[float]:
    """Choose ticks from 0 to at least `most`, in steps of 1, 2 or 5 times a power of ten."""
    raw = most / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def _stretch(share: float) -> float:
    return -math.log10(max(1 - share, 1e-9))


def _format(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"
