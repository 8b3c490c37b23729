"""The plots of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import SubElement

from api.reports import svg
from api.reports.drift_plot import drift_plot
from api.schemas.run_report import CurvePoint, RunReport
from shared.evaluation_results import ReliabilityBin
from shared.retraining import LabelMetrics, PredictionSummary

MAX_MATRIX = 100  # labels of a matrix that is drawn
_NAMED = 20  # labels of a matrix with names and counts
_BARS = 16  # labels of the bar chart: those that change most
_KEY = "solid: champion; dashed: challenger"


def plots_of(report: RunReport) -> dict[str, str]:
    """The plots that the data of a report allows, by name."""
    plots: dict[str, str] = {}
    if report.curve:
        plots["learning_curve"] = learning_curve(report.curve)
    if any(each.drift for each in report.drift):
        plots["drift"] = drift_plot(report.drift, title=f"Drift of version {report.run.champion}")
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
    plot = svg.drawing(told, svg.BOTTOM + 48)
    x = svg.scale(0, max(len(points) - 1, 1), svg.LEFT + 10, svg.WIDTH - svg.RIGHT - 10)
    y = svg.scale(bottom, 1.0, svg.BOTTOM, svg.TOP)
    svg.axes(plot, y, bottom, 1.0)
    for index in sorted({0, len(points) - 1}):
        anchor = "start" if index == 0 else "end"
        svg.text(
            plot,
            x(index),
            svg.BOTTOM + 16,
            f"{points[index].started_at:%-d %b %Y}",
            anchor,
        )
    line = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(live))
    SubElement(plot, "polyline", {"class": "line live", "points": line})
    for index, point in enumerate(points):
        kind = "promoted" if point.status == "promoted" else "refused"
        dot = svg.circle(plot, x(index), y(point.challenger), 4.0, f"dot {kind}")
        svg.title(
            dot,
            f"{point.started_at:%-d %b %Y}: challenger {point.challenger:.3f}, champion "
            f"{point.champion:.3f}, {point.status}",
        )
    svg.text(
        plot,
        svg.LEFT,
        svg.BOTTOM + 36,
        "line: live; dot: promoted; ring: not promoted",
        "start",
    )
    return svg.markup(plot)


def label_bars(labels: Sequence[LabelMetrics]) -> str:
    """F1 of both versions for the labels that change most, the greatest loss first."""
    most = sorted(labels, key=lambda each: -abs(each.challenger_f1 - each.champion_f1))[:_BARS]
    most.sort(key=lambda each: each.challenger_f1 - each.champion_f1)
    told = "; ".join(
        f"{svg.plain(e.label)} {e.champion_f1:.2f} to {e.challenger_f1:.2f}" for e in most
    )
    plot = svg.drawing(f"F1 by label, champion to challenger: {told}", 36.0 * len(most) + 22)
    for index, each in enumerate(most):
        top = 36.0 * index
        svg.text(plot, 0, top + 12, svg.plain(each.label), "start")
        svg.text(
            plot, svg.WIDTH, top + 12, f"{each.champion_f1:.2f} → {each.challenger_f1:.2f}", "end"
        )
        for kind, value, at in (
            ("champion", each.champion_f1, top + 16),
            ("challenger", each.challenger_f1, top + 23),
        ):
            svg.rect(plot, 0, at, svg.WIDTH, 6, "track")
            svg.rect(plot, 0, at, svg.WIDTH * value, 6, kind)
    svg.text(plot, 0, 36.0 * len(most) + 14, "upper bar: champion; lower bar: challenger", "start")
    return svg.markup(plot)


def confusion_matrix(role: str, labels: Sequence[str], predictions: PredictionSummary) -> str:
    """Rows are true labels, columns predicted ones; the shade is the share of the row."""
    totals = [0] * len(labels)
    for true, _, count in predictions.confusion:
        totals[true] += count
    right = sum(count for true, predicted, count in predictions.confusion if true == predicted)
    named = len(labels) <= _NAMED
    left, head = (92.0, 84.0) if named else (16.0, 16.0)
    cell = (svg.WIDTH - left) / max(len(labels), 1 if not named else 4)
    told = f"Confusion matrix of the {role}: {right} of {sum(totals)} predicted correctly"
    plot = svg.drawing(told, head + cell * len(labels) + 4)
    svg.rect(plot, left, head, cell * len(labels), cell * len(labels), "frame")
    for true, predicted, count in predictions.confusion:
        share = count / totals[true]
        x, y = left + cell * predicted, head + cell * true
        kind = "right" if true == predicted else "wrong"
        box = svg.rect(plot, x, y, cell, cell, kind)
        box.set("fill-opacity", f"{0.15 + 0.85 * share:.2f}")
        svg.title(
            box, f"{svg.plain(labels[true])} predicted as {svg.plain(labels[predicted])}: {count}"
        )
        if named:
            text = svg.text(plot, x + cell / 2, y + cell / 2 + 4, str(count), "middle")
            text.set("class", "on" if share > 0.5 else "off")
    for index, label in enumerate(labels if named else ()):
        middle = cell * (index + 0.5)
        svg.text(plot, left - 5, head + middle + 4, svg.plain(label, 13), "end")
        column = svg.text(plot, 0, 0, svg.plain(label, 13), "start")
        column.set("transform", f"translate({left + middle + 3:.1f} {head - 5:.1f}) rotate(-60)")
    if not named:
        svg.text(plot, left, 11, "predicted →", "start")
        svg.text(plot, 0, 0, "true →", "start").set("transform", f"translate(11 {head}) rotate(90)")
    return svg.markup(plot)


def reliability(champion: Sequence[ReliabilityBin], challenger: Sequence[ReliabilityBin]) -> str:
    """How often predictions of a score are correct, by score; the diagonal is ideal."""
    told = "Share of correct predictions by score; on the diagonal both agree"
    plot = svg.drawing(told, svg.BOTTOM + 48)
    x = svg.scale(0.0, 1.0, svg.LEFT, svg.WIDTH - svg.RIGHT)
    y = svg.scale(0.0, 1.0, svg.BOTTOM, svg.TOP)
    svg.axes(plot, y, 0.0, 1.0)
    for tick in (0.0, 0.5, 1.0):
        anchor = "end" if tick == 1.0 else "middle"
        svg.text(plot, x(tick), svg.BOTTOM + 16, f"score {tick:.1f}", anchor)
    ideal = f"M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}"
    SubElement(plot, "path", {"class": "ideal", "d": ideal})
    for kind, bins in (("champion", champion), ("challenger", challenger)):
        filled = [each for each in bins if each.count]
        most = max((each.count for each in filled), default=1)
        line = " ".join(f"{x(each.confidence):.1f},{y(each.accuracy):.1f}" for each in filled)
        SubElement(plot, "polyline", {"class": f"line {kind}-line", "points": line})
        for each in filled:
            radius = 2.0 + 3.0 * math.sqrt(each.count / most)
            dot = svg.circle(plot, x(each.confidence), y(each.accuracy), radius, kind)
            svg.title(
                dot,
                f"{kind}, score {each.confidence:.2f}: {each.accuracy:.0%} of {each.count} correct",
            )
    svg.text(plot, svg.LEFT, svg.BOTTOM + 36, _KEY, "start")
    return svg.markup(plot)
