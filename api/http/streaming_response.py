"""Responses that are sent piece by piece, and the resources that they release at the end."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial

from flask import Response

from api.http.download import attachment, download
from api.services.files import FileService

FILE_TYPE = "application/octet-stream"


def streamed(pieces: Iterable[bytes], held: ExitStack, *, mimetype: str) -> Response:
    """The answer; `held` is released when it was sent, or when the client reads it no more."""
    response = Response(pieces, mimetype=mimetype)
    response.call_on_close(held.pop_all().close)
    return response


def streamed_file(files: FileService, account: str, file_id: str, held: ExitStack) -> Response:
    """A file, or a range of its bytes; a file never changes, so its id is its ETag.

    Raises:
        NotFound: The account has no such file, or it has expired.
        EtagMismatch, RangeNotSatisfiable: As for `download`.
    """
    file = files.get(account, file_id)
    return download(
        partial(files.open, account, file_id),
        held,
        size=file.bytes,
        tag=file.id,
        disposition=attachment(file.filename),
        mimetype=FILE_TYPE,
    )
