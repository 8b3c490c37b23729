"""/health/live: the process answers. /health/ready: the service can do its work."""

from __future__ import annotations

import os

from flask import Blueprint, Response

from api.http.json_response import reply
from api.server.liveness import PROCESS_HEADER
from api.services.readiness import Liveness, ReadinessProbe


def blueprint(*, probe: ReadinessProbe) -> Blueprint:
    """The routes; they need no key."""
    routes = Blueprint("health", __name__)

    @routes.get("/health/live")
    def live() -> Response:
        return reply(Liveness(), headers={PROCESS_HEADER: str(os.getpid())})

    @routes.get("/health/ready")
    def ready() -> Response:
        found = probe.look()
        return reply(found) if found.ready else reply(found, 503, {"Retry-After": "2"})

    return routes
