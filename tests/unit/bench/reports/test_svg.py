import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench.reports.svg import HEIGHT, WIDTH, Plot, draw, draw_percentiles

NAMESPACE = "{http://www.w3.org/2000/svg}"


def draw_lines(*, is_logarithmic: bool = False, **lines: list[tuple[float, float]]) -> ElementTree.Element:
    plot = Plot(
        title="a < b & c",
        x_label="seconds",
        y_label="ms",
        lines=lines,
        marks={"measured": 5.0},
        is_logarithmic=is_logarithmic,
    )
    return ElementTree.fromstring(draw(plot))  # noqa: S314 - our own


def list_points(document: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]
        for line in document.iter(f"{NAMESPACE}polyline")
    ]


@pytest.mark.parametrize("is_logarithmic", [True, False])
def test_lines_stay_within_the_picture(is_logarithmic: bool) -> None:
    """A line stays inside for all values; more is higher up, later further to the right."""
    document = draw_lines(
        is_logarithmic=is_logarithmic,
        small=[(0.0, 0.001), (10.0, 0.5)],
        large=[(0.0, 3.0), (10.0, 123_456.0)],
    )
    small, large = list_points(document)

    for x, y in [*small, *large]:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert small[0][0] < small[1][0]
    assert small[1][1] > large[1][1]


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(0.0, 5.0)], [(0.0, 0.0), (1.0, 0.0)]])
@pytest.mark.parametrize("is_logarithmic", [True, False])
def test_nothing_to_see_is_a_picture_too(points: list[tuple[float, float]], is_logarithmic: bool) -> None:
    """A run in which nothing happened must not end in a division by zero."""
    (line,) = list_points(draw_lines(is_logarithmic=is_logarithmic, empty=points))

    assert len(points) == len(line)


def test_text_is_escaped_and_there() -> None:
    """Title, axes, the names of lines and of phases."""
    document = draw_lines(p99=[(0.0, 1.0), (10.0, 2.0)])
    texts = {element.text for element in document.iter(f"{NAMESPACE}text")}

    assert {"a < b & c", "seconds", "ms", "p99", "measured"} <= texts


def test_each_nine_is_as_wide_as_the_next() -> None:
    """The scale lets the tail be seen."""
    document = ElementTree.fromstring(  # noqa: S314 - our own
        draw_percentiles("tail", {"x": [(0.0, 1.0), (0.9, 2.0), (0.99, 3.0), (0.999, 4.0), (0.9999, 5.0)]})
    )
    ((*points,),) = list_points(document)
    widths = {round(after[0] - before[0], 1) for before, after in pairwise(points)}

    assert max(widths) - min(widths) < 0.3


def test_ticks_are_round_numbers() -> None:
    """1, 2 and 5, times a power of ten."""
    document = draw_lines(x=[(0.0, 0.0), (30.0, 37.0)])
    numbers = [
        element.text for element in document.iter(f"{NAMESPACE}text") if re.fullmatch(r"\d+", element.text or "")
    ]

    assert ["0", "10", "20", "30", "40"] == numbers[:5]
