"""GET /metrics: metrics in the text format of Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response

from api.dependencies import Services
from api.openapi.model import Operation
from api.services.metrics import MEDIA_TYPE

OPERATIONS = (
    Operation(
        method="get",
        path="/metrics",
        tag="Health",
        name="metrics",
        summary="Counts for Prometheus.",
        answers={200: "text/plain"},
        problems=(400, 500),
        needs_key=False,
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The route; it needs no key and holds no user's words."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def scrape() -> Response:
        return Response(services.metrics.text(), content_type=MEDIA_TYPE)

    return routes
