"""One connection: requests are parsed and answered one after the other, with deadlines.

    head → body buffered, streamed or discarded (`api.server.body`) → application
    (`api.server.exchange`) → response read by the client → next head

Everything runs on the event loop, except `write` and `answered`, which threads call.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from api.server.body import Body
from api.server.exchange import Exchange
from api.server.failed_auth_limiter import network_of
from api.server.parser import MalformedRequest, Parser
from api.server.request import REFUSAL, HttpRequest, environ_of
from api.server.route_limits import Route
from api.server.shared_state import ServerState
from api.server.writer import Writer
from shared.errors import TooBusy
from shared.telemetry import Log

log = Log("http")

_LINGER_S = 2.0  # until a client has read that its body is not waited for
_NEVER = math.inf
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """A client's connection.

    Attributes:
        deadline: When the client has kept us waiting for too long.
        address: Whose it is; an IPv6 network counts as one.
        client_has_left: It sends nothing more.
    """

    def __init__(self, site: ServerState, *, refused: bool = False) -> None:
        self._site = site
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._host = ""
        self._server = ("", "")
        self._peer = self.address = ""
        self._behind_proxy = False
        self.deadline = _NEVER
        self.client_has_left = False
        self._parser = Parser(self)
        self._unparsed = b""
        self._waiting: deque[HttpRequest] = deque()
        self._request: HttpRequest | None = None
        self._path = self._query = ""
        self._body: Body | None = None
        self._exchange: Exchange | None = None
        self._route: Route
        self._pool = site.polling
        self._counted = False
        self._lingers = False
        self._closes = False  # after the answer
        self._answered = False
        self._lock = threading.Lock()
        self._tells = True  # whether a thread that has answered says so, or
        self._done = False  # leaves it to be found: see `answered`
        self._writer: Writer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, where the address has not too many connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._host, *_ = transport.get_extra_info("peername") or ("",)
        server, port, *_ = transport.get_extra_info("sockname") or ("", 0)
        self._server = (str(server), str(port))
        self._behind_proxy = self._site.proxies.trusts(self._host)
        self.address = self._peer = "" if self._behind_proxy else network_of(self._host)
        if self._refused or not (
            self._behind_proxy or self._site.connections_by_address.take(self._peer)
        ):
            self._transport.abort()
            return
        self._writer = Writer(
            self._site, self._transport, sent=self._sent, abandoned=self._abandoned
        )
        self._site.connections.add(self)
        self.deadline = self._site.now() + self._site.header_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Let go of everything; a thread that answers ends by itself."""
        if self not in self._site.connections:
            return
        self._settle()
        self.client_has_left = True
        self._site.connections.discard(self)
        if not self._behind_proxy:
            self._site.connections_by_address.give_back(self._peer)
        if self._body is not None:
            self._body.client_left()
        self._writer.close()
        if self._exchange is None:
            self._release()

    def look(self, now: float) -> None:
        """Give up a client that has kept us waiting for too long; called often."""
        if self._done:
            self._settle()
        if self._body is not None and self._body.deadline <= now:
            self._body.late()
        elif self.deadline <= now:
            self.deadline = _NEVER
            self._transport.abort()
        if self._writer.is_late(now):
            self.cut()

    @property
    def unsent_bytes(self) -> int:
        """Bytes of its answer that the client has not taken."""
        return self._writer.unsent_bytes

    def unsent_for_s(self, now: float) -> float:
        """For how long it has left them."""
        return self._writer.held_s(now)

    def cut(self) -> None:
        """Give up a client that does not read its answer."""
        log.warning("http.slow_reader", unsent_bytes=self.unsent_bytes)
        self._transport.abort()

    def stop(self) -> None:
        """Close when nothing is being answered."""
        self._settle()
        self._closes = True
        if self._request is None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse, or keep for later what follows a request that is being answered."""
        if self._lingers:
            return
        self._settle()
        if self._request is not None and self._request.complete:
            self._unparsed += data
            self.pause()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """Keep the way to the client open where it may still read an answer."""
        self._settle()
        self.client_has_left = self._closes = True
        if self._request is None or self._body is None or self._lingers:
            return False
        if not self._request.complete:
            self._body.client_left()
        return self._exchange is not None

    def _parse(self, data: bytes) -> None:
        try:
            self._unparsed = self._parser.feed(data) + self._unparsed
        except MalformedRequest as exc:
            self._end_with(exc.status)

    def head(self, request: HttpRequest) -> None:
        """Called by the parser: begin, unless another request is answered before."""
        self._settle()
        if self._request is None and not self._closes:
            self._begin(request)
        else:
            self._waiting.append(request)

    def piece(self, request: HttpRequest, data: bytes) -> None:
        """Called by the parser: a piece of the body."""
        if request is self._request and self._body is not None:
            self._body.receive(data)
        else:
            request.early.append(data)

    def end(self, request: HttpRequest) -> None:
        """Called by the parser: the request is complete."""
        if request is self._request and self._body is not None:
            if self._answered:
                self._finish()
            else:
                self._body.complete()

    def _begin(self, request: HttpRequest) -> None:
        self._request = request
        self.deadline = _NEVER
        self._answered = False
        self._path, self._query = request.path_and_query()
        prefix = ""
        if self._behind_proxy:
            self.address, prefix = self._site.sender(self._host, request)
        self._route = route = self._site.route_of(request.method, self._path, prefix)
        self._pool = route.pool
        self._body = body = Body(
            self._site, self, request, max_bytes=route.max_bytes, streamed=route.streamed
        )
        self._counted = self._site.requests_by_address.take(self.address)
        if not self._counted:
            most = self._site.requests_by_address.max_each
            body.refuse(
                TooBusy(f"{most} requests of this client address are in flight", retry_after_s=1)
            )
        else:
            body.begin()
        while request.early:
            body.receive(request.early.pop(0))
        if request.complete:
            body.complete()

    def dispatch(self) -> None:
        """Let the application answer: the body is there, is handed on, or was refused."""
        request, body = self._request, self._body
        if request is None or body is None or self._exchange is not None:
            return
        environ = environ_of(
            request, path=self._path, query=self._query, client=self._host, server=self._server
        )
        environ["wsgi.input"] = body.input
        error = body.refusal or self._site.fault(self._route)
        if error is not None:
            environ[REFUSAL] = error
            self._pool = self._site.polling
        self._exchange = Exchange(
            self._site.app,
            self,
            environ,
            http_1_0=request.version == "1.0",
            head_only=request.method == "HEAD",
        )
        self._done = False
        self._tells = bool(
            self._waiting or self._unparsed or not request.complete or body.holds_bytes
        )
        if self._pool.submit(self._exchange.run):
            return
        self._exchange = None
        if error is None:
            body.refuse(
                TooBusy("too many requests are waiting; try again shortly", retry_after_s=1)
            )
        else:
            self._end_with(b"503 Service Unavailable")

    def answered(self, *, whole: bool) -> None:
        """Called by a thread: it is done with the request.

        Mostly the client's next request, its end or the next look finds that, which saves the loop
        from being woken: a tenth of the processor time of a short call.
        """
        exchange = self._exchange
        with self._lock:
            alone = whole and not self._tells and not self._writer.unsent
            self._done = alone and exchange is not None and exchange.keep_alive
            if self._done:
                return
        self.from_thread(self._is_answered, whole)

    def _settle(self) -> None:
        """Find that a thread has answered; one that has not yet will tell."""
        if self._exchange is None:
            return
        with self._lock:
            done, self._done = self._done, False
            self._tells = True
        if done:
            self._is_answered(True)

    def _is_answered(self, whole: bool) -> None:
        exchange, self._exchange = self._exchange, None
        self._release()
        if not whole or exchange is None or self._writer.closed:
            self._transport.abort()
            return
        self._closes = self._closes or not exchange.keep_alive
        self._answered = True
        if self._body is not None and self._request is not None and not self._request.complete:
            self._body.discard()
        self._finish()

    def _finish(self) -> None:
        """The client has taken the answer: go on with its next request."""
        request = self._request
        if request is None or self._writer.unsent:
            return  # it goes on when the client has taken what was written
        if self._closes:
            self._close()
            return
        if not request.complete:
            return  # its body is thrown away
        self._request = self._body = None
        self._writer.answer_is_over()
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self.deadline = self._site.now() + self._site.header_timeout_s
        self.resume()

    def hold(self, seconds: float) -> None:
        """Called by a thread: see `api.server.exchange.AnswerTarget`."""
        self.from_thread(self._hold, seconds)

    def _hold(self, seconds: float) -> None:
        """Continue after a time; at once if the address has too many responses held back."""
        self._release()
        held = self._site.held_by_address
        if not held.take(self.address):
            self._sent(True)
            return
        self._loop.call_later(seconds, held.give_back, self.address)
        self._loop.call_later(seconds, self._sent, True)

    def _release(self) -> None:
        """Give back what the request took, once it is not in flight any more."""
        if self._counted:
            self._counted = False
            self._site.requests_by_address.give_back(self.address)
        if self._body is not None:
            self._body.release()

    def pause(self) -> None:
        """Take no more from the client."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Go on taking."""
        if self._unparsed and not (self._request is not None and self._request.complete):
            data, self._unparsed = self._unparsed, b""
            self._loop.call_soon(self.data_received, data)
        self._transport.resume_reading()

    def send_continue(self) -> None:
        """Tell a client that awaits it to send the body."""
        self._transport.write(_CONTINUE)

    def close_after_answer(self) -> None:
        """Take no other request."""
        self._closes = True

    def close(self) -> None:
        """Close as soon as the request is answered: the rest of its body is not waited for."""
        self._closes = True
        if self._answered:
            self._finish()

    def from_thread(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the event loop."""
        with suppress(RuntimeError):  # the loop has ended, and with it the process
            self._loop.call_soon_threadsafe(function, *arguments)

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow."""
        request, site = self._request, self._site
        return bool(request and request.keep_alive and not self._closes and not site.stopping)

    def write(self, buffers: list[bytes], *, go_on: bool) -> bool:
        """Send bytes from a thread: see `api.server.exchange.AnswerTarget`."""
        return self._writer.write(buffers, go_on=go_on)

    def pause_writing(self) -> None:
        """The transport holds bytes."""
        self._writer.transport_is_full()

    def resume_writing(self) -> None:
        """The transport holds no more bytes."""
        self._writer.transport_is_empty()

    def _sent(self, go_on: bool) -> None:
        """The client has taken what was written."""
        if go_on and self._exchange is not None:
            self._pool.submit(self._exchange.go_on, bounded=False)
        elif self._answered:
            self._finish()

    def _abandoned(self) -> None:
        """The client has gone, and no thread knows it."""
        if self._exchange is not None:
            self._pool.submit(self._exchange.abandon, bounded=False)

    def _end_with(self, status: bytes) -> None:
        """Answer what is no request, and close."""
        self._closes = True
        if self._exchange is not None:
            if self._body is not None:
                self._body.client_left()
            return  # after the answer that is being made
        if self._body is not None:
            self._body.client_left()
        self._release()
        self._transport.write(
            b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
        )
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close; where the client still sends, only once it has had time to read the answer."""
        if self._transport.is_closing():
            return
        complete = self._request is None or self._request.complete
        if (complete and not linger) or self.client_has_left:
            self._transport.close()
            return
        self._lingers = True
        self._body = None
        self.deadline = self._site.now() + _LINGER_S
        with suppress(OSError):
            self._transport.write_eof()
        self.resume()
