"""The parsed head of a request, and its WSGI environment."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

REFUSAL = "pigeonhole.refusal"  # an error that the server found; `api.http.middleware` raises it
HOLD_S = "pigeonhole.hold_s"  # seconds for which the application wants its answer held back


class HttpRequest:
    """One request while it arrives.

    Attributes:
        length: `Content-Length`; None for a body in chunks, 0 for none.
        early: Pieces of the body that came before the answer to the request before it.
        complete: Whether the body has come to its end.
        awaits_continue: The client sends no body until it is told to.
    """

    __slots__ = (
        "awaits_continue",
        "complete",
        "early",
        "headers",
        "keep_alive",
        "length",
        "method",
        "target",
        "version",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = 0
        self.awaits_continue = False
        self.keep_alive = True
        self.complete = False
        self.early: list[bytes] = []

    def head_is_complete(self, parser: httptools.HttpRequestParser) -> None:
        """Read off what the parser knows once it has seen all headers."""
        self.method = parser.get_method().decode("latin1")
        self.version = parser.get_http_version()
        self.keep_alive = parser.should_keep_alive()
        for name, value in self.headers:
            match name.lower():
                case b"content-length":
                    self.length = int(value)
                case b"transfer-encoding":
                    self.length = None
                case b"expect":
                    self.awaits_continue = value.lower() == b"100-continue"

    @property
    def has_body(self) -> bool:
        """Whether bytes follow the headers."""
        return self.length is None or self.length > 0

    def header(self, wanted: bytes) -> str | None:
        """The headers of a name in lower case, joined by commas; None if there are none."""
        values = [value for name, value in self.headers if name.lower() == wanted]
        return b",".join(values).decode("latin1") if values else None

    def path_and_query(self) -> tuple[str, str]:
        """The decoded path and the query, as WSGI has them: bytes as Latin-1."""
        target = self.target
        if not target.startswith(b"/"):  # absolute-form, or the `*` of OPTIONS
            try:
                url = httptools.parse_url(target)
                path, query = url.path or b"/", url.query or b""
            except httptools.HttpParserInvalidURLError:
                path, query = b"/" + target, b""
        else:
            path, _, query = target.partition(b"#")[0].partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.decode("latin1"), query.decode("latin1")


def environ_of(
    request: HttpRequest, *, path: str, query: str, client: str, server: tuple[str, str]
) -> dict[str, Any]:
    """The WSGI environment, but for `wsgi.input`."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": server[0],
        "SERVER_PORT": server[1],
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": client,
        "HTTP_HOST": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    seen = set()
    for name, value in request.headers:
        variable, text = _variable(name.lower()), value.decode("latin1")
        if variable in seen:
            text = f"{environ[variable]},{text}"
        seen.add(variable)
        environ[variable] = text
    return environ


@lru_cache(maxsize=512)
def _variable(name: bytes) -> str:
    variable = name.decode("latin1").upper().replace("-", "_")
    return variable if name in {b"content-type", b"content-length"} else f"HTTP_{variable}"
