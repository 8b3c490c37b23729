"""Connections to third-party hosts: protection against SSRF by DNS rebinding and slow servers.

A host name is resolved once, every address is checked against the SSRF policy, and the connection
goes to a checked address. A name therefore cannot resolve to another address between the check and
the connection (DNS rebinding). All operations of a connection share one deadline, so a server that
drips bytes (slowloris) cannot extend it. The HTTP exchange itself is in `client`.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import httpcore

from shared.errors import FetchFailed, FetchInterrupted, InvalidRequest, Unavailable
from shared.url_policy import Address, Network, check_address

_HEADER_BYTES = 64 * 1024  # limit of a response before its body begins
_MAX_LOOKUPS = 64  # DNS lookups in flight, each in a thread

Resolve = Callable[[str], Sequence[Address]]
"""Resolves a host name to addresses, best first; raises OSError if it has none."""


def by_system(name: str) -> Sequence[Address]:
    """Resolve with the system's resolver, which may block for long."""
    results = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(entry[4][0]) for entry in results]


class Deadline:
    """The deadline of one request and its response, on the monotonic clock."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._at = time.monotonic() + after_s

    def left_s(self) -> float:
        """The remaining seconds, more than 0.

        Raises:
            FetchInterrupted: The deadline has passed.
        """
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise self.missed()
        return left_s

    def missed(self) -> FetchInterrupted:
        """The error for a passed deadline."""
        return FetchInterrupted(f"took longer than {self._after_s:g} s")


class HostResolver:
    """Resolves host names in threads, since the system's resolver cannot be interrupted."""

    def __init__(self, resolve: Resolve = by_system) -> None:
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def addresses(self, host: str, deadline: Deadline) -> Sequence[Address]:
        """The addresses of a host name or of a literal address.

        Raises:
            FetchFailed: The name has no address.
            FetchInterrupted: The lookup failed temporarily, or took longer than the deadline.
            Unavailable: Too many lookups are in flight.
        """
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"DNS is slow: {_MAX_LOOKUPS} lookups are in flight; try again later")
        result: Future[Sequence[Address]] = Future()
        threading.Thread(
            target=self._look_up, args=(host, result), name="resolve", daemon=True
        ).start()
        try:
            addresses = result.result(timeout=deadline.left_s())
        except NotYet:
            raise deadline.missed() from None
        except (OSError, ValueError) as exc:
            if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_AGAIN:
                raise FetchInterrupted(
                    "has a host name that cannot be resolved at the moment"
                ) from exc
            raise FetchFailed(
                "has a host name that cannot be resolved: check the spelling"
            ) from exc
        if not addresses:
            raise FetchFailed("has a host name without an address")
        return addresses

    def _look_up(self, host: str, result: Future[Sequence[Address]]) -> None:
        try:
            result.set_result(self._resolve(host))
        except Exception as exc:  # noqa: BLE001  the caller raises it
            result.set_exception(exc)
        finally:
            self._free.release()


class BoundedConnection(httpcore.NetworkStream):
    """A connection with the deadline of its request and a limit on received bytes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._allowed = _HEADER_BYTES

    def allow(self, max_bytes: int) -> None:
        """Allow this many more bytes to be received."""
        self._allowed = max_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Receive up to `max_bytes`.

        Raises:
            FetchFailed: The deadline has passed, or the peer sent more bytes than allowed.
        """
        if self._allowed <= 0:
            raise FetchFailed("sent more header or framing bytes than are accepted")
        data = self._stream.read(min(max_bytes, self._allowed), self._deadline.left_s())
        self._allowed -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send in chunks, so that each chunk is bound by the rest of the deadline."""
        for start in range(0, len(buffer), 16384):
            self._stream.write(buffer[start : start + 16384], self._deadline.left_s())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> BoundedConnection:
        """Start TLS and verify the certificate against the host name, within the deadline."""
        self._stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left_s())
        return self

    def get_extra_info(self, info: str) -> Any:
        """Pass a query of httpcore to the stream."""
        return self._stream.get_extra_info(info)


class Dialler(httpcore.NetworkBackend):
    """The httpcore backend of one request. `connection` is set once it is connected."""

    def __init__(
        self, resolver: HostResolver, networks: Collection[Network], deadline: Deadline
    ) -> None:
        self._resolver = resolver
        self._networks = networks
        self._deadline = deadline
        self.connection: BoundedConnection | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> BoundedConnection:
        """Resolve the host, check every address, and try the addresses one after another.

        Raises:
            FetchFailed: The SSRF policy refuses an address.
            FetchInterrupted: No address accepts the connection.
        """
        addresses = self._resolver.addresses(host, self._deadline)
        for address in addresses:
            try:
                check_address(address, self._networks)
            except InvalidRequest as exc:
                raise FetchFailed(exc.detail) from exc
        for index, address in enumerate(addresses):
            share_s = self._deadline.left_s() / (len(addresses) - index)
            try:
                stream = httpcore.SyncBackend().connect_tcp(str(address), port, share_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            self.connection = BoundedConnection(stream, self._deadline)
            return self.connection
        self._deadline.left_s()
        raise FetchInterrupted("does not accept the connection")
