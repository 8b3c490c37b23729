"""An answer that is written piece by piece, and what must be let go of after it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from urllib.parse import quote

from flask import Response
from werkzeug.http import dump_options_header

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
    response.headers["Content-Disposition"] = disposition(file.filename)
    return response


def disposition(name: str) -> str:
    """The header that says what to call a file, by RFC 6266: in ASCII, and beside it as it is.

    A header with other characters breaks the connection instead of the name.

    >>> disposition("rows.csv")
    'attachment; filename=rows.csv'
    >>> disposition("üß.csv")
    "attachment; filename=__.csv; filename*=UTF-8''%C3%BC%C3%9F.csv"
    """
    plain = "".join(each if each.isascii() else "_" for each in name)
    header = dump_options_header("attachment", {"filename": plain})
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
