"""State that all connections of a process share: the application, threads, limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from api.server.client_limits import ByteBudget, PerAddress
from api.server.failed_auth_limiter import network_of
from api.server.request import HttpRequest
from api.server.route_limits import Route
from api.server.thread_pool import ThreadPool
from api.server.trusted_proxies import TrustedProxies
from shared.errors import PigeonholeError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@dataclass(kw_only=True)
class ServerState:
    """One process of the API, as its connections see it.

    Attributes:
        app: What answers requests.
        route_of: Where the application runs for a method and path, and which body they may have.
        check_key: Raises what is wrong with an `Authorization` header; may wait for the store.
        fault: Why a route cannot be answered, where that is so: a process whose threads are stuck
            does not live.
        proxies: Those that are trusted to say whose requests they send.
        polling: Threads for what is answered quickly.
        stopping: Whether connections are closed after their answer.
        connections: Those that are open.
    """

    app: WSGIApplication
    route_of: Callable[[str, str, str], Route]
    check_key: Callable[[str | None], object]
    fault: Callable[[Route], PigeonholeError | None]
    proxies: TrustedProxies
    polling: ThreadPool
    budget: ByteBudget
    connections_by_address: PerAddress
    requests_by_address: PerAddress
    held_by_address: PerAddress
    header_timeout_s: float
    body_timeout_s: float
    response_timeout_s: float
    stopping: bool = False
    connections: set[Any] = field(default_factory=set)
    now: Callable[[], float] = time.monotonic

    def sender(self, proxy: str, request: HttpRequest) -> tuple[str, str]:
        """For whose address a request of a trusted proxy counts, and its prefix of the path."""
        client = self.proxies.client(proxy, request.header(b"x-forwarded-for") or "")
        prefix = (request.header(b"x-forwarded-prefix") or "").rpartition(",")[2].strip()
        return network_of(client), prefix
