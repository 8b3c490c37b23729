"""A report as one HTML page: its style is in it, it has no script, and it loads nothing.

Templates escape what users write. The Content-Security-Policy allows exactly the style of the page,
by its hash: as a header, and as a `meta` element for a page that was saved as a file.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.reports.plots import MAX_MATRIX, plots_of
from api.schemas.run_report import RunReport
from api.schemas.run_summary import METRICS
from shared.retraining import HoldoutComparison

SVG = "image/svg+xml"
_MAX_CONFUSIONS = 10


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often a label is predicted for another one, by both versions."""

    true: str
    predicted: str
    champion: int
    challenger: int


def html(report: RunReport) -> str:
    """The page."""
    plots = {name: Markup(svg) for name, svg in plots_of(report).items()}
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            run=report.run,
            plots=plots,
            confusions=confusions(report.comparison),
            max_matrix=MAX_MATRIX,
            metric=METRICS[report.run.test.metric] if report.run.test else "",
            policy=_policy(),
            style=Markup(style()),
        )
    )


def svg_file(plot: str) -> str:
    """A plot as a file of its own, with its style."""
    start = plot.index(">") + 1
    return f"{plot[:start]}<style>{_css('plots.css')}</style>{plot[start:]}"


def page_policy() -> str:
    """The Content-Security-Policy of the page."""
    return f"{_policy()}; frame-ancestors 'none'"  # which a `meta` element must not have


def svg_policy() -> str:
    """The Content-Security-Policy of a plot as a file."""
    return f"default-src 'none'; style-src {_hash(_css('plots.css'))}"


def style_source() -> str:
    """The source of the style of the page, as policies name it."""
    return _hash(style())


def style() -> str:
    """The style of the page."""
    return _css("plots.css") + _css("page.css")


def confusions(comparison: HoldoutComparison | None) -> list[Confusion]:
    """The most frequent wrong predictions of either version."""
    if comparison is None:
        return []
    counts: dict[tuple[int, int], list[int]] = {}
    for side, summary in enumerate((comparison.champion, comparison.challenger)):
        for true, predicted, count in summary.confusion:
            if true != predicted:
                counts.setdefault((true, predicted), [0, 0])[side] = count
    most = sorted(counts.items(), key=lambda each: (-max(each[1]), each[0]))[:_MAX_CONFUSIONS]
    return [
        Confusion(
            true=comparison.labels[true],
            predicted=comparison.labels[predicted],
            champion=before,
            challenger=after,
        )
        for (true, predicted), (before, after) in most
    ]


def _policy() -> str:
    return f"default-src 'none'; style-src {style_source()}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _css(name: str) -> str:
    return resources.files("api.reports").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("api.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
