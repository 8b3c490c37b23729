"""The plots of a report as SVG: no script, no font and no image of another place.

Colours are classes of `plots.css`, so that a plot follows light and dark. Each plot has a sentence
for a reader who does not see it. Widths and heights are in units of the view box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from api.schemas.run_report import CurvePoint, RunReport
from shared.evaluation_results import ReliabilityBin
from shared.retraining import LabelMetrics, PredictionSummary

MAX_MATRIX = 100  # labels of a matrix that is drawn
_NAMED = 20  # labels of a matrix with names and counts
_BARS = 16  # labels of the bar chart: those that change most
_WIDTH = 340.0
_LEFT, _RIGHT, _TOP = 34.0, 8.0, 8.0
_HEIGHT = 200.0  # of the area of a plot with axes
_MAX_NAME = 32
_KEY = "solid: champion; dashed: challenger"


def plots_of(report: RunReport) -> dict[str, str]:
    """The plots that the data of a report allows, by name."""
    plots: dict[str, str] = {}
    if report.curve:
        plots["learning_curve"] = learning_curve(report.curve)
    if report.run.metrics and report.run.metrics.labels:
        plots["labels"] = label_bars(report.run.metrics.labels)
    if (compared := report.comparison) is not None:
        for role, each in (("champion", compared.champion), ("challenger", compared.challenger)):
            if len(compared.labels) <= MAX_MATRIX:
                plots[f"confusion_matrix_{role}"] = confusion_matrix(role, compared.labels, each)
        plots["reliability"] = reliability(
            compared.champion.reliability, compared.challenger.reliability
        )
    return plots


def learning_curve(points: Sequence[CurvePoint]) -> str:
    """Macro F1 over runs: the live version as a line, each challenger as a dot."""
    live = [p.challenger if p.status == "promoted" else p.champion for p in points]
    low = min(min(p.champion, p.challenger) for p in points)
    bottom = max(0.0, math.floor((low - 0.02) * 10) / 10)
    told = f"Macro F1 of the live version over {len(points)} runs, now {live[-1]:.3f}"
    svg = _svg(told, _TOP + _HEIGHT + 48)
    x = _scale(0, max(len(points) - 1, 1), _LEFT + 10, _WIDTH - _RIGHT - 10)
    y = _scale(bottom, 1.0, _TOP + _HEIGHT, _TOP)
    _axes(svg, y, bottom, 1.0)
    for index in sorted({0, len(points) - 1}):
        anchor = "start" if index == 0 else "end"
        _text(svg, x(index), _TOP + _HEIGHT + 16, f"{points[index].started_at:%-d %b %Y}", anchor)
    line = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(live))
    SubElement(svg, "polyline", {"class": "line live", "points": line})
    for index, point in enumerate(points):
        kind = "promoted" if point.status == "promoted" else "refused"
        dot = _circle(svg, x(index), y(point.challenger), 4.0, f"dot {kind}")
        _title(
            dot,
            f"{point.started_at:%-d %b %Y}: challenger {point.challenger:.3f}, champion "
            f"{point.champion:.3f}, {point.status}",
        )
    _text(svg, _LEFT, _TOP + _HEIGHT + 36, "line: live; dot: promoted; ring: not promoted", "start")
    return _markup(svg)


def label_bars(labels: Sequence[LabelMetrics]) -> str:
    """F1 of both versions for the labels that change most, the greatest loss first."""
    most = sorted(labels, key=lambda each: -abs(each.challenger_f1 - each.champion_f1))[:_BARS]
    most.sort(key=lambda each: each.challenger_f1 - each.champion_f1)
    told = "; ".join(f"{_name(e.label)} {e.champion_f1:.2f} to {e.challenger_f1:.2f}" for e in most)
    svg = _svg(f"F1 by label, champion to challenger: {told}", 36.0 * len(most) + 22)
    for index, each in enumerate(most):
        top = 36.0 * index
        _text(svg, 0, top + 12, _name(each.label), "start")
        _text(svg, _WIDTH, top + 12, f"{each.champion_f1:.2f} → {each.challenger_f1:.2f}", "end")
        for kind, value, at in (
            ("champion", each.champion_f1, top + 16),
            ("challenger", each.challenger_f1, top + 23),
        ):
            _rect(svg, 0, at, _WIDTH, 6, "track")
            _rect(svg, 0, at, _WIDTH * value, 6, kind)
    _text(svg, 0, 36.0 * len(most) + 14, "upper bar: champion; lower bar: challenger", "start")
    return _markup(svg)


def confusion_matrix(role: str, labels: Sequence[str], predictions: PredictionSummary) -> str:
    """Rows are true labels, columns predicted ones; the shade is the share of the row."""
    totals = [0] * len(labels)
    for true, _, count in predictions.confusion:
        totals[true] += count
    right = sum(count for true, predicted, count in predictions.confusion if true == predicted)
    named = len(labels) <= _NAMED
    left, head = (92.0, 84.0) if named else (16.0, 16.0)
    cell = (_WIDTH - left) / max(len(labels), 1 if not named else 4)
    told = f"Confusion matrix of the {role}: {right} of {sum(totals)} predicted correctly"
    svg = _svg(told, head + cell * len(labels) + 4)
    _rect(svg, left, head, cell * len(labels), cell * len(labels), "frame")
    for true, predicted, count in predictions.confusion:
        share = count / totals[true]
        x, y = left + cell * predicted, head + cell * true
        kind = "right" if true == predicted else "wrong"
        box = _rect(svg, x, y, cell, cell, kind)
        box.set("fill-opacity", f"{0.15 + 0.85 * share:.2f}")
        _title(box, f"{_name(labels[true])} predicted as {_name(labels[predicted])}: {count}")
        if named:
            text = _text(svg, x + cell / 2, y + cell / 2 + 4, str(count), "middle")
            text.set("class", "on" if share > 0.5 else "off")
    for index, label in enumerate(labels if named else ()):
        middle = cell * (index + 0.5)
        _text(svg, left - 5, head + middle + 4, _name(label, 13), "end")
        column = _text(svg, 0, 0, _name(label, 13), "start")
        column.set("transform", f"translate({left + middle + 3:.1f} {head - 5:.1f}) rotate(-60)")
    if not named:
        _text(svg, left, 11, "predicted →", "start")
        _text(svg, 0, 0, "true →", "start").set("transform", f"translate(11 {head}) rotate(90)")
    return _markup(svg)


def reliability(champion: Sequence[ReliabilityBin], challenger: Sequence[ReliabilityBin]) -> str:
    """How often predictions of a score are correct, by score; the diagonal is ideal."""
    told = "Share of correct predictions by score; on the diagonal both agree"
    svg = _svg(told, _TOP + _HEIGHT + 48)
    x = _scale(0.0, 1.0, _LEFT, _WIDTH - _RIGHT)
    y = _scale(0.0, 1.0, _TOP + _HEIGHT, _TOP)
    _axes(svg, y, 0.0, 1.0)
    for tick in (0.0, 0.5, 1.0):
        anchor = "end" if tick == 1.0 else "middle"
        _text(svg, x(tick), _TOP + _HEIGHT + 16, f"score {tick:.1f}", anchor)
    ideal = f"M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"
    SubElement(svg, "path", {"class": "ideal", "d": ideal})
    for kind, bins in (("champion", champion), ("challenger", challenger)):
        filled = [each for each in bins if each.count]
        most = max((each.count for each in filled), default=1)
        line = " ".join(f"{x(each.confidence):.1f},{y(each.accuracy):.1f}" for each in filled)
        SubElement(svg, "polyline", {"class": f"line {kind}-line", "points": line})
        for each in filled:
            radius = 2.0 + 3.0 * math.sqrt(each.count / most)
            dot = _circle(svg, x(each.confidence), y(each.accuracy), radius, kind)
            _title(
                dot,
                f"{kind}, score {each.confidence:.2f}: {each.accuracy:.0%} of {each.count} correct",
            )
    _text(svg, _LEFT, _TOP + _HEIGHT + 36, _KEY, "start")
    return _markup(svg)


def _axes(svg: Element, y: Callable[[float], float], low: float, high: float) -> None:
    corner = f"M{_LEFT} {_TOP}V{_TOP + _HEIGHT}H{_WIDTH - _RIGHT}"
    SubElement(svg, "path", {"class": "axis", "d": corner})
    for step in range(5):
        tick = low + (high - low) * step / 4
        _text(svg, _LEFT - 5, y(tick) + 4, f"{tick:.2f}", "end")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _svg(told: str, height: float) -> Element:
    return Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "plot",
            "viewBox": f"0 0 {_WIDTH:g} {height:g}",
            "role": "img",
            "aria-label": told,
        },
    )


def _text(svg: Element, x: float, y: float, text: str, anchor: str) -> Element:
    made = SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    made.text = text
    return made


def _rect(svg: Element, x: float, y: float, width: float, height: float, kind: str) -> Element:
    place = {"x": x, "y": y, "width": width, "height": height}
    return SubElement(svg, "rect", {"class": kind} | {k: f"{v:.1f}" for k, v in place.items()})


def _circle(svg: Element, x: float, y: float, radius: float, kind: str) -> Element:
    place = {"cx": x, "cy": y, "r": radius}
    return SubElement(svg, "circle", {"class": kind} | {k: f"{v:.1f}" for k, v in place.items()})


def _title(of: Element, text: str) -> None:
    SubElement(of, "title").text = text


def _name(label: str, most: int = _MAX_NAME) -> str:
    """A label as text of a plot. XML allows no control characters, not even escaped.

    >>> _name("a\\x00b")
    'a b'
    """
    text = "".join(letter if letter.isprintable() else " " for letter in label)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _markup(svg: Element) -> str:
    return tostring(svg, encoding="unicode")
