"""The body of the current request, with a size limit."""

from __future__ import annotations

from flask import request

from api.http import content_encoding
from api.schemas import body
from api.schemas.body_stream import LargeBody


def data(*, max_bytes: int) -> bytes:
    """All of it, decoded where `Content-Encoding` says that it is encoded.

    Raises:
        BodyTooLarge: It has more than `max_bytes`, as it was sent or decoded.
        ContentEncodingNotSupported: It is encoded in another way than gzip or zstd.
        InvalidRequest: The connection ended before the body did, or it is not encoded as it says.
    """
    sent = body.read(
        request.stream,  # type: ignore[arg-type]  # werkzeug says IO[bytes]
        length=request.content_length,
        max_bytes=max_bytes,
        awaits_continue="Expect" in request.headers,
    )
    encoding = request.headers.get(content_encoding.HEADER)
    return content_encoding.decoded(sent, encoding, max_bytes=max_bytes)


def stream(*, max_bytes: int) -> LargeBody:
    """To be read piece by piece.

    Raises:
        ContentEncodingNotSupported: It is encoded; large bodies are taken as they are.
    """
    content_encoding.checked(request.headers.get(content_encoding.HEADER))
    return LargeBody(
        request.stream,  # type: ignore[arg-type]  # werkzeug says IO[bytes]
        length=request.content_length,
        max_bytes=max_bytes,
        awaits_continue="Expect" in request.headers,
    )
