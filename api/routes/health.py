"""/health/live: the process answers. /health/ready: an item passed through a queue and a model."""

from __future__ import annotations

import os
from functools import partial

from flask import Blueprint, Response

from api.dependencies import Services
from api.http.json_response import reply
from api.openapi.model import Operation
from api.server.liveness import PROCESS_HEADER
from api.services.readiness import Liveness, Readiness

_operation = partial(
    Operation, tag="Health", problems=(400, 500), needs_key=False, ignores_query=True
)

OPERATIONS = (
    _operation(
        method="get",
        path="/health/live",
        name="live",
        summary="Whether the process answers.",
        answers={200: Liveness},
    ),
    _operation(
        method="get",
        path="/health/ready",
        name="ready",
        summary="Whether an item comes back through the real queue.",
        answers={200: Readiness, 503: Readiness},
        headers={503: ("Retry-After",)},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes; they need no key."""
    routes = Blueprint("health", __name__)

    @routes.get("/health/live")
    def live() -> Response:
        return reply(Liveness(), headers={PROCESS_HEADER: str(os.getpid())})

    @routes.get("/health/ready")
    def ready() -> Response:
        found = services.probe.look()
        return reply(found) if found.ready else reply(found, 503, {"Retry-After": "2"})

    return routes
