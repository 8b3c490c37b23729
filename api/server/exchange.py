"""One request in the application, and its response on the way to the client. Runs in threads.

A thread never waits for a client. The event loop sends the bytes that the kernel does not accept at
once, and the thread is free. Any thread continues the response once the client has read them
(backpressure).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from api.server.request import HOLD_S
from api.server.writer import ClientGone
from shared.telemetry import Log

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = Log("http")

_NO_BODY = frozenset({204, 304})
# As RFC 9110 calls them; Python has these names from 3.13 on.
_RENAMED = {
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def _phrase(code: int) -> str:
    """The words of a status; frameworks write them in capitals, or have other ones."""
    try:
        return _RENAMED.get(code) or HTTPStatus(code).phrase
    except ValueError:
        return ""


class AnswerTarget(Protocol):
    """The connection, as the answer sees it."""

    client_has_left: bool

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""

    def write(self, buffers: list[bytes], *, go_on: bool) -> bool:
        """Send bytes.

        Args:
            buffers: What to send.
            go_on: Whether to call `Exchange.go_on` when they are sent, if the answer is False.

        Returns:
            Whether they were sent at once.

        Raises:
            ClientGone: The connection has ended.
        """

    def hold(self, seconds: float) -> None:
        """Call `Exchange.go_on` after a time; meanwhile the request is not in flight."""

    def answered(self, *, whole: bool) -> None:
        """The answer has been handed over, or has broken off."""


class Exchange:
    """One request on its way through the application. Its methods raise nothing."""

    def __init__(
        self,
        app: WSGIApplication,
        client: AnswerTarget,
        environ: dict[str, Any],
        *,
        http_1_0: bool,
        head_only: bool,
    ) -> None:
        self._app = app
        self._client = client
        self._environ = environ
        self._http_1_0 = http_1_0
        self._head_only = head_only
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._head: bytes | None = None  # until it is sent
        self._chunked = False
        self._left: int | None = None  # bytes to come, where that was announced
        self._pieces: Iterator[bytes] = iter(())
        self._close: Callable[[], object] | None = None
        self.keep_alive = False

    def run(self) -> None:
        """Let the application answer."""
        try:
            answer = self._app(self._environ, self._start)
            self._close = getattr(answer, "close", None)
            self._pieces = iter(answer)
            if hold_s := self._environ.get(HOLD_S):
                self._head = self._make_head()
                self._environ = {}  # the body, which the response does not need
                self._client.hold(hold_s)
                return
            first = next(self._pieces, b"")
            self._head = self._make_head()
            sent = self._send(first)
        except ClientGone:
            self._end(whole=False)
        except BaseException as exc:  # noqa: BLE001  the client sees a broken answer
            log.error("http.failed", exc=exc)
            self._end(whole=False)
        else:
            if sent:
                self.go_on()

    def go_on(self) -> None:
        """Send what is left of the answer."""
        try:
            if self._left == 0:
                self._send(b"")  # the head of an answer to HEAD that was held
            while self._left != 0:
                piece = next(self._pieces, None)
                if piece is None or (self._chunked and self._client.client_has_left):
                    break
                if not self._send(piece):
                    return
            if self._chunked:
                self._client.write([b"0\r\n\r\n"], go_on=False)
        except ClientGone:
            self._end(whole=False)
        except BaseException as exc:  # noqa: BLE001  the client sees a broken answer
            log.error("http.failed", exc=exc)
            self._end(whole=False)
        else:
            self._end(whole=not self._left)

    def abandon(self) -> None:
        """Let go of the answer: the client reads it no more."""
        self._end(whole=False)

    def _start(
        self, status: str, headers: list[tuple[str, str]], _: object = None, /
    ) -> Callable[[bytes], object]:
        self._status, self._headers = status, headers
        return lambda _: None

    def _make_head(self) -> bytes:
        code = int(self._status[:3])
        lines = [f"HTTP/1.1 {code} {_phrase(code)}"]
        length: int | None = None
        for name, value in self._headers:
            lines.append(f"{name}: {value}")
            if name.lower() == "content-length":
                length = int(value)
        self.keep_alive = self._client.keeps_alive
        if self._head_only or code in _NO_BODY:
            self._left = 0
        elif length is not None:
            self._left = length
        elif self._http_1_0:
            self.keep_alive = False  # the end of the connection is the end of the answer
        else:
            self._chunked = True
            lines.append("transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append("connection: close")
        elif self._http_1_0:
            lines.append("connection: keep-alive")
        lines.append(f"date: {_date()}")
        return "\r\n".join((*lines, "", "")).encode("latin1")

    def _send(self, piece: bytes) -> bool:
        """Send a piece, with the head before it; whether the client has taken all of it."""
        buffers = []
        if self._head is not None:
            buffers.append(self._head)
            self._head = None
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
            buffers.append(piece)
        elif piece:
            buffers += (
                (f"{len(piece):x}\r\n".encode(), piece, b"\r\n") if self._chunked else (piece,)
            )
        if not buffers or buffers == [b""]:
            return True
        go_on = self._left != 0
        return self._client.write(buffers, go_on=go_on) or not go_on

    def _end(self, *, whole: bool) -> None:
        try:
            if self._close is not None:
                self._close()
        except BaseException as exc:  # noqa: BLE001  the answer has been given
            log.error("http.failed", exc=exc)
        self._close = None
        self._pieces = iter(())
        self._environ = {}
        self._client.answered(whole=whole)


_last_date = (-1, "")  # the second of its making, and the header


def _date() -> str:
    """The Date header, made once a second: it takes longer than the rest of the head."""
    global _last_date
    second = int(time.monotonic())
    if _last_date[0] != second:
        _last_date = (second, formatdate(usegmt=True))
    return _last_date[1]
