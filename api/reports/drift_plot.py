"""A plot of drift by day: each measure over its threshold, which is the line at 1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement

from api.reports import svg
from shared.drift import DriftMeasures
from shared.drift_report import DayDrift

_NAMES = {
    "labels": "labels (PSI)",
    "confidence": "confidence (PSI)",
    "embedding": "mean embedding (distance)",
}
_SHAPES = {  # of the points of a measure, around the origin: none is told by its colour alone
    "labels": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "confidence": "M-4 -4h8v8h-8z",
    "embedding": "M0 -5l5 9h-10z",
}


def drift_plot(report: Sequence[DayDrift], *, title: str) -> str:
    """The plot of the days that could be compared with the reference."""
    days = [(each, each.drift) for each in report if each.drift is not None]
    about = "; ".join(_sentence(day, found) for day, found in days) or "no items, or no reference"
    plot = svg.drawing(f"{title}: {about}", svg.BOTTOM + 30 + 16 * len(_NAMES))
    svg.title(plot, svg.plain(title, len(title)))
    SubElement(plot, "desc").text = about
    values = [m.value / m.threshold for _, found in days for m in found.by_name.values()]
    step = _step(max(values, default=0.0))
    top = 4 * step
    y = svg.scale(0.0, top, svg.BOTTOM, svg.TOP)
    svg.axes(plot, y, 0.0, top, digits=0 if step >= 1 else 1)
    limit = f"M{svg.LEFT} {y(1.0):.1f}H{svg.WIDTH - svg.RIGHT}"
    SubElement(plot, "path", {"class": "ideal", "d": limit})
    svg.text(plot, svg.WIDTH - svg.RIGHT, y(1.0) - 5, "threshold", "end")
    if days:
        _points(plot, days, y)
    for index, (name, words) in enumerate(_NAMES.items()):
        _point(plot, name, svg.LEFT + 5, svg.BOTTOM + 32 + 16 * index)
        svg.text(plot, svg.LEFT + 16, svg.BOTTOM + 36 + 16 * index, words, "start")
    return svg.markup(plot)


def _step(highest: float) -> float:
    """The step of an axis with four of them.

    >>> _step(0.3), _step(2.1), _step(15.0), _step(90.0)
    (0.5, 1.0, 5.0, 50.0)
    """
    steps = (factor * 10.0**power for power in itertools.count() for factor in (0.5, 1.0, 2.0))
    return next(step for step in steps if 4 * step > highest)


def _points(plot: Element, days: Sequence[tuple[DayDrift, DriftMeasures]], y: svg.Scale) -> None:
    first, last = days[0][0].day, days[-1][0].day
    span = (last - first).days
    at = svg.scale(0, max(span, 1), svg.LEFT + 12, svg.WIDTH - svg.RIGHT - 12)
    for name in _NAMES:
        places = [
            (at((day.day - first).days), y(m.value / m.threshold))
            for day, found in days
            for m in (found.by_name[name],)
        ]
        line = " ".join(f"{x:.1f},{height:.1f}" for x, height in places)
        SubElement(plot, "polyline", {"class": f"line drift-{name}-line", "points": line})
        for (x, height), (day, found) in zip(places, days, strict=True):
            svg.title(_point(plot, name, x, height), _sentence(day, found))
    for date in sorted({first, last}):
        anchor = "start" if date == first else "end"
        svg.text(plot, at((date - first).days), svg.BOTTOM + 16, f"{date:%-d %b %Y}", anchor)


def _point(plot: Element, name: str, x: float, y: float) -> Element:
    move = f"translate({x:.1f} {y:.1f})"
    shape = {"class": f"drift-{name}", "d": _SHAPES[name], "transform": move}
    return SubElement(plot, "path", shape)


def _sentence(day: DayDrift, found: DriftMeasures) -> str:
    measures = ", ".join(
        f"{_NAMES[name]} {m.value:.2f} of {m.threshold:.2f}" for name, m in found.by_name.items()
    )
    return f"{day.day}: {day.observed.items} items, {measures}"
