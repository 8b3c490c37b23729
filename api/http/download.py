"""Downloads of stored objects: complete, or one requested range of bytes.

A client whose download broke off requests the rest (`Range`), on the condition that the bytes are
the same (`If-Range` with the ETag). Only the requested bytes are read from the store.

The conditions are those of RFC 9110, in its order: `If-Match`, `If-None-Match`, then `Range` with
`If-Range`, for GET only. A header that is not understood, another unit than bytes and more than one
range are answered with the whole object, as the RFC allows. Bytes under an ETag never change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import BinaryIO, Protocol
from urllib.parse import quote

from flask import Response, request
from werkzeug.datastructures import ETags
from werkzeug.http import dump_options_header, parse_etags

from shared.errors import EtagMismatch, RangeNotSatisfiable

_CHUNK_BYTES = 64 * 1024
_ONE_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{1,19})?|-([0-9]{1,19}))")


class Open(Protocol):
    """How a part of the object is opened."""

    def __call__(self, *, start: int, end: int) -> BinaryIO:
        """The bytes from `start` to `end`, as in a slice; the caller closes them."""


def download(
    open_part: Open, held: ExitStack, *, size: int, tag: str, disposition: str, mimetype: str
) -> Response:
    """The answer to GET or HEAD for one object.

    Args:
        open_part: Opens the bytes that are sent; not called where none are.
        held: What is released when the answer was sent, or when the client reads it no more.
        size: Of the whole object, in bytes. The length of the answer is announced, so that it
            cannot be cut short unnoticed.
        tag: What the bytes are known by: other bytes have another one. Becomes the ETag.
        disposition: The header that says what the client should call the file.
        mimetype: Of the object.

    Raises:
        EtagMismatch: `If-Match` names other bytes.
        RangeNotSatisfiable: The object has none of the bytes that are asked for.
    """
    if (wanted := _etags("If-Match")) and not wanted.contains(tag):
        raise EtagMismatch("the ETag of the file does not match If-Match")
    if (known := _etags("If-None-Match")) and known.contains_weak(tag):
        response = Response(status=HTTPStatus.NOT_MODIFIED)
        response.headers.pop("Content-Type", None)
    else:
        part = _range(size, tag)
        start, end = part or (0, size)
        pieces: Iterator[bytes] = iter(())
        if request.method == "GET" and start < end:
            pieces = _pieces(held.enter_context(open_part(start=start, end=end)), end - start)
        response = Response(pieces, mimetype=mimetype)
        response.content_length = end - start
        response.headers["Content-Disposition"] = disposition
        if part is not None:
            response.status_code = HTTPStatus.PARTIAL_CONTENT
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response.call_on_close(held.pop_all().close)
    response.headers["Accept-Ranges"] = "bytes"
    response.set_etag(tag)
    return response


def attachment(name: str) -> str:
    """The header that says what to call a file, by RFC 6266: in ASCII, and beside it as it is.

    A header with other characters breaks the connection instead of the name.

    >>> attachment("rows.csv")
    'attachment; filename=rows.csv'
    >>> attachment("üß.csv")
    "attachment; filename=__.csv; filename*=UTF-8''%C3%BC%C3%9F.csv"
    """
    plain = "".join(each if each.isascii() else "_" for each in name)
    header = dump_options_header("attachment", {"filename": plain})
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"


def _range(size: int, tag: str) -> tuple[int, int] | None:
    """Which bytes to send, as a slice; None for all of them.

    Raises:
        RangeNotSatisfiable: There are no such bytes.
    """
    found = _ONE_RANGE.fullmatch(request.headers.get("Range", ""))
    if request.method != "GET" or found is None:
        return None
    if request.headers.get("If-Range", f'"{tag}"') != f'"{tag}"':
        return None  # a date or a weak ETag does not say that the bytes are the same
    first, last, suffix = (None if each is None else int(each) for each in found.groups())
    if first is not None and last is not None and last < first:
        return None  # no range by the grammar
    start = max(0, size - (suffix or 0)) if first is None else first
    if start >= size:
        detail = f"the range is outside of the file, which has {size} bytes"
        raise RangeNotSatisfiable(detail, size=size)
    return start, size if last is None else min(last + 1, size)


def _etags(header: str) -> ETags | None:
    value = request.headers.get(header)
    return None if value is None else parse_etags(value)


def _pieces(stream: BinaryIO, left: int) -> Iterator[bytes]:
    """So many bytes of a stream; it may have more, or be short where the object was cut."""
    while left > 0 and (piece := stream.read(min(left, _CHUNK_BYTES))):
        left -= len(piece)
        yield piece
