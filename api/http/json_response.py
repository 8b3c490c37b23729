"""The JSON response of a view."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response

from api.schemas import body


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(body.dump(value), status, headers, content_type="application/json")
