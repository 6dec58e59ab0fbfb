"""Curves and bars as SVG paths in a field of 1000 x 100, which the page stretches to the room there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 100

_MOST_POINTS = 500
"""About as many as there are pixels: what is longer is drawn as the mean and the range of equal pieces."""

Points = Sequence[tuple[float, float | None]]
"""(x, y) in ascending order of x; y is None where there is nothing to draw."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        paths: unbroken pieces.
        ranges: outlines around the smallest and largest value, where points were put together.
        color: as CSS.
        name: for the legend; empty if the chart has only one curve.
    """

    paths: tuple[str, ...]
    ranges: tuple[str, ...]
    color: str
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """A field with curves.

    Attributes:
        title: what is drawn, with its unit.
        lines: the curves.
        top, middle, bottom: labels of the y axis.
        left, right: labels of the x axis.
        level: position on the y axis of a dashed line.
        marks: positions on the x axis that are pointed out.
    """

    title: str
    lines: tuple[Line, ...]
    top: str
    middle: str
    bottom: str
    left: str
    right: str
    level: str | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Area:
    """One layer of a chart of shares: a closed path, its colour and what it is."""

    path: str
    color: str
    name: str


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, both of them round numbers."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], low: float | None = None, high: float | None = None) -> Axis:
        """An axis that `values` fit on, in round numbers; `low` and `high` fix an end."""
        smallest = min(values, default=0.0) if low is None else low
        largest = max(values, default=1.0) if high is None else high
        if largest <= smallest:
            largest = smallest + (abs(smallest) or 1.0) * 0.1
        step = _round_step((largest - smallest) / 4)
        return cls(
            math.floor(smallest / step + 1e-9) * step if low is None else low,
            math.ceil(largest / step - 1e-9) * step if high is None else high,
        )

    def label(self, share: float) -> str:
        """The value at `share` of the axis, as text."""
        return f"{self.low + share * (self.high - self.low):.4g}"

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)


def chart(
    title: str,
    series: Sequence[tuple[str, str, Points]],
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    ends: tuple[str, str] | None = None,
    level: float | None = None,
    marks: Sequence[float] = (),
) -> Chart | None:
    """A chart of one or more (name, colour, points) over seconds; None if there is nothing to draw.

    `low` and `high` fix the ends of the y axis, `unit` stands at its top; `ends` replaces the seconds at the ends of
    the x axis.
    """
    values = [y for _, _, points in series for _, y in points if y is not None]
    places = [x for _, _, points in series for x, _ in points]
    if not values:
        return None
    y_axis, x_axis = Axis.around(values, low, high), Axis(min(places), max(places))
    if x_axis.low == x_axis.high:
        x_axis = Axis(x_axis.low, x_axis.low + 1)
    return Chart(
        title=title,
        lines=tuple(_line(name, color, points, x_axis, y_axis) for name, color, points in series),
        top=y_axis.label(1) + unit,
        middle=y_axis.label(0.5),
        bottom=y_axis.label(0),
        left=ends[0] if ends else f"{x_axis.low:.4g} s",
        right=ends[1] if ends else f"{x_axis.high:.4g} s",
        level=None if level is None else f"{HEIGHT - HEIGHT * y_axis.place(level):.2f}",
        marks=tuple(f"{WIDTH * x_axis.place(mark):.1f}" for mark in marks if x_axis.low <= mark <= x_axis.high),
    )


def shares(times: Sequence[float], layers: Sequence[tuple[str, str, Sequence[float]]]) -> tuple[Area, ...]:
    """Layers (name, colour, share at each of `times`) on top of each other, the first at the bottom."""
    if len(times) < 2:
        return ()
    x_axis = Axis(times[0], max(times[-1], times[0] + 1e-9))
    pieces = _pieces(len(times))
    places = [WIDTH * x_axis.place(_mean(times[piece])) for piece in pieces]
    places[0], places[-1] = 0.0, float(WIDTH)
    lower = [0.0] * len(pieces)
    areas = []
    for name, color, values in layers:
        upper = [below + _mean(values[piece]) for below, piece in zip(lower, pieces, strict=True)]
        outline = [*zip(places, upper, strict=True), *reversed(list(zip(places, lower, strict=True)))]
        areas.append(Area(f"M{'L'.join(_point(x, y) for x, y in outline)}Z", color, name))
        lower = upper
    return tuple(areas)


def _line(name: str, color: str, points: Points, x_axis: Axis, y_axis: Axis) -> Line:
    paths, ranges = [], []
    for run in _unbroken(points):
        places, lows, means, highs = [], [], [], []
        for piece in _pieces(len(run), math.ceil(_MOST_POINTS * len(run) / len(points))):
            values = [y_axis.place(y) for _, y in run[piece]]
            places.append(WIDTH * x_axis.place(_mean([x for x, _ in run[piece]])))
            lows.append(min(values))
            means.append(_mean(values))
            highs.append(max(values))
        line = "L".join(_point(x, y) for x, y in zip(places, means, strict=True))
        # A point alone has no length: a hair to the right makes it visible.
        paths.append(f"M{line}" if len(places) > 1 else f"M{line}h.1")
        if len(run) > len(places) > 1:
            outline = [*zip(places, highs, strict=True), *reversed(list(zip(places, lows, strict=True)))]
            ranges.append(f"M{'L'.join(_point(x, y) for x, y in outline)}Z")
    return Line(tuple(paths), tuple(ranges), color, name)


def _unbroken(points: Points) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = []
    connected = False
    for x, y in points:
        if y is not None:
            if not connected:
                runs.append([])
            runs[-1].append((x, y))
        connected = y is not None
    return runs


def _pieces(length: int, most: int = _MOST_POINTS) -> list[slice]:
    """Slices of about equal length that cover `length` items."""
    count = min(length, most)
    edges = [round(length * number / count) for number in range(count + 1)]
    return [slice(start, end) for start, end in zip(edges, edges[1:], strict=False)]


def _point(x: float, y: float) -> str:
    return f"{x:.1f} {HEIGHT - HEIGHT * y:.2f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, not less than `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * (1 - 1e-9))
