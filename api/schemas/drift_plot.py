"""A plot of drift by day, as SVG: each measure over its threshold, which is the line at 1.

Drawn here and not by a worker, so that it needs neither a worker nor a plotting library.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from shared.drift import Measure
from shared.drift_report import DayDrift, DriftReport

SVG = "image/svg+xml"
_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 64, 44
_COLOURS = {"labels": "#4878a8", "confidence": "#7a5195", "embedding": "#c44e52"}
_MARKERS = {
    "labels": '<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    "confidence": '<rect x="{left:.1f}" y="{above:.1f}" width="8" height="8"/>',
    "embedding": '<path d="M{x:.1f} {above:.1f} l5 9 h-10 z"/>',
}
_NAMES = {
    "labels": "labels (PSI)",
    "confidence": "confidence (PSI)",
    "embedding": "mean embedding (distance)",
}
_MIN_TOP = 1.5  # of the axis, in thresholds
_MAX_DATES = 8


def draw(report: DriftReport, *, title: str) -> str:
    """The plot of the days of a report."""
    days = [each for each in report.days if each.drift is not None]
    values = [_over(m) for day in days for m in _measures(day).values()]
    top = max([_MIN_TOP, *(1.1 * value for value in values)])
    about = "; ".join(_sentence(day) for day in days) or "no items, or no reference"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" role="img" font-family="sans-serif" '
            'font-size="12">',
            f"<title>{_text(title)}</title>",
            f"<desc>{_text(about)}</desc>",
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_LEFT}" y="22" font-size="15">{_text(title)}</text>',
            *_legend(),
            *_axes(top),
            *_dates(days),
            *(line for name in _COLOURS for line in _series(name, days, top)),
            "</svg>",
        ]
    )


def _measures(day: DayDrift) -> dict[str, Measure]:
    return {} if day.drift is None else day.drift.by_name


def _over(measure: Measure) -> float:
    return measure.value / measure.threshold


def _sentence(day: DayDrift) -> str:
    found = ", ".join(
        f"{_NAMES[name]} {m.value:.2f} of {m.threshold:.2f}" for name, m in _measures(day).items()
    )
    return f"{day.day}: {day.observed.items} items, {found}"


def _legend() -> list[str]:
    lines, x = [], _LEFT + 6
    for name, colour in _COLOURS.items():
        lines.append(f'<g fill="{colour}">{_marker(name, x, 42)}</g>')
        lines.append(f'<text x="{x + 10}" y="46">{_NAMES[name]}</text>')
        x += 24 + 7 * len(_NAMES[name])
    return lines


def _axes(top: float) -> list[str]:
    right, bottom, limit = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _y(1.0, top)
    return [
        f'<path d="M{_LEFT} {_TOP} V{bottom} H{right}" fill="none" stroke="black"/>',
        f'<path d="M{_LEFT} {limit:.1f} H{right}" stroke="#555" stroke-dasharray="5 4"/>',
        f'<text x="{right}" y="{limit - 5:.1f}" text-anchor="end" fill="#555">threshold</text>',
        *(
            f'<text x="{_LEFT - 6}" y="{_y(tick, top) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            for tick in _ticks(top)
        ),
        f'<text transform="translate(14 {(_TOP + bottom) / 2:.0f}) rotate(-90)" '
        'text-anchor="middle">value / threshold</text>',
    ]


def _ticks(top: float) -> list[float]:
    """At most six numbers from 0 up, 1 among them.

    >>> _ticks(1.5), _ticks(9.0)
    ([0.0, 0.5, 1.0, 1.5], [0.0, 1.0, 3.0, 5.0, 7.0, 9.0])
    """
    if top < 3:
        return [each / 2 for each in range(int(2 * top) + 1)]
    step = max(1, round(top / 5))
    return [0.0, *(float(each) for each in range(1, int(top) + 1, step))]


def _dates(days: Sequence[DayDrift]) -> list[str]:
    every = -(-len(days) // _MAX_DATES)
    return [
        f'<text x="{_x(index, len(days)):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
        f"{day.day}</text>"
        for index, day in enumerate(days)
        if index % every == 0
    ]


def _series(name: str, days: Sequence[DayDrift], top: float) -> list[str]:
    points = [
        (_x(index, len(days)), _y(_over(_measures(day)[name]), top))
        for index, day in enumerate(days)
    ]
    colour = _COLOURS[name]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        f'<g fill="{colour}">{"".join(_marker(name, x, y) for x, y in points)}</g>',
    ]


def _marker(name: str, x: float, y: float) -> str:
    return _MARKERS[name].format(x=x, y=y, left=x - 4, above=y - 4)


def _x(index: int, count: int) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (index + 0.5) / count


def _y(value: float, top: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - value / top)


def _text(text: str) -> str:
    """XML has no control characters, not even escaped."""
    return escape("".join(each if each.isprintable() else " " for each in text))
