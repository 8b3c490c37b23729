"""GET /v1/classifiers/{classifier_id}/drift: whether what is classified has changed."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import middleware
from api.http.json_response import reply
from api.openapi.model import CLASSIFIER_ID, TEXT, Operation, Parameter
from api.reports.drift_plot import drift_plot
from api.reports.page import SVG, svg_file, svg_policy
from api.schemas.drift import DEFAULT_WINDOW, DriftAnswer, parse_window, render_drift

_WINDOW = Parameter(
    name="window",
    where="query",
    about=f"The time up to now, in hours or days; by default `{DEFAULT_WINDOW}`.",
    schema={**TEXT, "pattern": "^[1-9][0-9]{0,3}[hd]$"},
)

OPERATIONS = (
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/drift",
        tag="Retraining",
        scope="train",
        name="getDrift",
        summary="How far what a version has classified differs from what it was trained and judged "
        "on.",
        about="From sums by hour; no text is stored. Send `Accept: image/svg+xml` for a plot by "
        "day. What a worker has classified counts within 10 seconds.",
        parameters=(CLASSIFIER_ID, _WINDOW),
        answers={200: (DriftAnswer, SVG)},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The route."""
    drift = services.drift
    routes = Blueprint("drift", __name__)

    @routes.get("/v1/classifiers/<classifier_id>/drift")
    def show(classifier_id: str) -> Response:
        record, version, report = drift.report(
            middleware.caller().account,
            classifier_id,
            window=parse_window(request.args.get("window")),
        )
        if request.accept_mimetypes.best_match(["application/json", SVG]) == SVG:
            title = f"Drift of {record.name or record.id}, version {version.number}"
            drawn = svg_file(drift_plot(report.days, title=title))
            headers = {"Content-Security-Policy": svg_policy()}
            return Response(drawn, 200, headers, content_type=SVG)
        return reply(render_drift(record, version, report))

    return routes
