"""Parses the bytes of a connection into requests, with llhttp."""

from __future__ import annotations

from typing import Protocol

import httptools

from api.server.request import HttpRequest
from shared.telemetry import Log

log = Log("http")

_MAX_HEAD_BYTES = 64 * 1024


class MalformedRequest(Exception):
    """Raised when bytes are no request; nothing after them can be understood."""

    def __init__(self, status: bytes) -> None:
        super().__init__(status)
        self.status = status


class ParserEvents(Protocol):
    """What is told of requests while they arrive."""

    def head(self, request: HttpRequest) -> None:
        """All headers of a request are there."""

    def piece(self, request: HttpRequest, data: bytes) -> None:
        """A piece of its body is there."""

    def end(self, request: HttpRequest) -> None:
        """It is complete."""


class Parser:
    """Takes bytes, and calls the owner. Its methods that begin with `on_` are for llhttp."""

    def __init__(self, owner: ParserEvents) -> None:
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self._request = HttpRequest()
        self._overhead = 0  # bytes since the last head or piece of a body

    def feed(self, data: bytes) -> bytes:
        """Parse; gives back what belongs to a later request and was not looked at.

        Raises:
            Malformed: It is no request, or its head is too large.
        """
        self._overhead += len(data)
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:  # which is not done: HTTP/1.1 goes on
            rest = data[exc.args[0] :]
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError as exc:
            if isinstance(exc, httptools.HttpParserCallbackError):
                log.error("http.failed", exc=exc)
            raise MalformedRequest(b"400 Bad Request") from None
        if self._overhead > _MAX_HEAD_BYTES:
            raise MalformedRequest(b"431 Request Header Fields Too Large")
        return rest

    def on_message_begin(self) -> None:
        """A request begins."""
        self._request = HttpRequest()

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._request.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._overhead = 0
        self._request.head_is_complete(self._parser)
        self._owner.head(self._request)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._overhead = 0
        self._owner.piece(self._request, piece)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._overhead = 0
        self._request.complete = True
        self._owner.end(self._request)
