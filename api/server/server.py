"""The server of one process: it listens, checks its connections, and shuts down gracefully."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from api.server.body import SMALL_BYTES
from api.server.client_limits import ByteBudget, PerAddress
from api.server.connection import Connection
from api.server.route_limits import Route, Routing
from api.server.shared_state import ServerState
from api.server.trusted_proxies import TrustedProxies
from shared.errors import PigeonholeError, Unavailable
from shared.settings import Settings
from shared.url_policy import networks_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_BACKLOG = 4096
_LOOK_S = 0.25
_MAX_UNSENT_BYTES = 256 * 2**20  # of answers that clients have not taken, in one process
_HASTE_S = 2.0
_SPARE_S = 1.0  # of the grace, to end the process itself
_STUCK_S = 60.0  # beyond the longest call: only a fault holds all threads so long


class HttpServer:
    """Serves an application.

    Args:
        app: Answers requests, in threads.
        settings: Of the process.
        check_key: Raises what is wrong with an `Authorization` header; called in a thread.
        max_connections: Beyond them a new one is closed at once.
    """

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings,
        *,
        check_key: Callable[[str | None], object],
        max_connections: int,
    ) -> None:
        self._settings = settings
        self._max_connections = max_connections
        self._routing = routing = Routing(settings)
        largest = settings.max_body_bytes + SMALL_BYTES
        self._site = ServerState(
            app=app,
            route_of=routing.route_of,
            check_key=check_key,
            fault=self._fault,
            proxies=TrustedProxies(networks=networks_of(settings.trusted_proxies)),
            polling=routing.polling,
            budget=ByteBudget(max(settings.max_bodies_bytes, largest), min_share=largest),
            connections_by_address=PerAddress(settings.max_address_connections),
            requests_by_address=PerAddress(settings.max_address_requests),
            held_by_address=PerAddress(settings.max_address_requests),
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            response_timeout_s=settings.response_timeout_s,
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; what is being answered is finished first."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        settings = self._settings
        listener = await loop.create_server(
            self._connection,
            sock=listening(settings.host, settings.port, backlog=_BACKLOG, shared=True),
            backlog=_BACKLOG,
        )
        while not stop.is_set():
            await self._look(stop)
        listener.close()
        self._site.stopping = True
        for connection in list(self._site.connections):
            connection.stop()
        until = loop.time() + max(1.0, settings.shutdown_grace_s - _SPARE_S)
        while self._site.connections and loop.time() < until:
            await self._look(None)

    def _connection(self) -> Connection:
        return Connection(self._site, refused=len(self._site.connections) >= self._max_connections)

    async def _look(self, stop: asyncio.Event | None) -> None:
        """Look at all connections, now and then."""
        if stop is None:
            await asyncio.sleep(_LOOK_S)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)
        now = self._site.now()
        for connection in list(self._site.connections):
            connection.look(now)
        for connection in to_cut(self._site.connections, now=now):
            connection.cut()

    def _fault(self, route: Route) -> PigeonholeError | None:
        """Why `/health/live` says that the process should be replaced, if it should."""
        limit_s = self._settings.request_timeout_s + _STUCK_S
        if route.pool is self._routing.liveness and self._routing.calls.max_wait_s > limit_s:
            return Unavailable(f"no thread became free for {limit_s:g} s")
        return None


def to_cut(
    connections: Iterable[Connection], *, now: float, max_bytes: int = _MAX_UNSENT_BYTES
) -> list[Connection]:
    """Whose clients are cut because all of them leave more than `max_bytes` of their answers.

    The slowest go first. A client is given `_HASTE_S` in any case: while answers go out, some of
    them are always held.
    """
    unsent = sum(each.unsent_bytes for each in connections)
    found = []
    if unsent > max_bytes:
        slow = sorted(connections, key=lambda each: each.unsent_for_s(now), reverse=True)
        for each in slow:
            if unsent <= max_bytes or each.unsent_for_s(now) < _HASTE_S:
                break
            unsent -= each.unsent_bytes
            found.append(each)
    return found


def listening(host: str, port: int, *, backlog: int | None = None, shared: bool) -> socket.socket:
    """A listening socket; one that is `shared` has the port together with others of its kind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server(
        (host, port),
        family=family,
        backlog=backlog,
        reuse_port=shared,
        dualstack_ipv6=family == socket.AF_INET6 and socket.has_dualstack_ipv6(),
    )
