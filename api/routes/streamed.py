"""An answer that is written piece by piece, and what must be let go of after it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial

from flask import Response

from api.files import Files

FILE_TYPE = "application/octet-stream"
_CHUNK_BYTES = 64 * 1024


def streamed(pieces: Iterable[bytes], held: ExitStack, *, mimetype: str) -> Response:
    """The answer; what is `held` is let go of when it was sent, or nobody reads it any more."""
    response = Response(pieces, mimetype=mimetype)
    response.call_on_close(held.pop_all().close)
    return response


def streamed_file(files: Files, account: str, file_id: str, held: ExitStack) -> Response:
    """A file: its length is announced, so that it cannot be cut short unnoticed.

    Raises:
        NotFound: The account has no such file, or it has expired.
    """
    file, stream = files.open(account, file_id)
    held.enter_context(stream)
    response = streamed(iter(partial(stream.read, _CHUNK_BYTES), b""), held, mimetype=FILE_TYPE)
    response.content_length = file.bytes
    response.headers.set("Content-Disposition", "attachment", filename=file.filename)
    return response
