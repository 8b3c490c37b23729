"""The body of the request being answered, bounded."""

from __future__ import annotations

from flask import request

from api.wire import body
from api.wire.stream import LargeBody


def data(*, max_bytes: int) -> bytes:
    """All of it.

    Raises:
        BodyTooLarge: It has more than `max_bytes`.
        InvalidRequest: The connection ended before the body did.
    """
    return body.read(
        request.stream,  # type: ignore[arg-type]  # werkzeug says IO[bytes]
        length=request.content_length,
        max_bytes=max_bytes,
        awaits_continue="Expect" in request.headers,
    )


def stream(*, max_bytes: int) -> LargeBody:
    """To be read piece by piece."""
    return LargeBody(
        request.stream,  # type: ignore[arg-type]  # werkzeug says IO[bytes]
        length=request.content_length,
        max_bytes=max_bytes,
        awaits_continue="Expect" in request.headers,
    )
