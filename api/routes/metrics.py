"""GET /metrics: counts in the text format of Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response

from api.services.metrics import MEDIA_TYPE, ApiMetrics


def blueprint(*, metrics: ApiMetrics) -> Blueprint:
    """The route; it needs no key and holds no user's words."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def scrape() -> Response:
        return Response(metrics.text(), content_type=MEDIA_TYPE)

    return routes
