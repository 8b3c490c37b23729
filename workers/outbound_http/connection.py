"""Connecting to strangers: a name is resolved once, judged, and the judged address is dialled.

So what a name resolves to cannot change between the check and the connection. All that is done with
a connection has one deadline, however slowly the other end drips. What is said over the connection
is not decided here.
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

_HEADER_BYTES = 64 * 1024  # all that an answer may send before its body begins
_MAX_LOOKUPS = 64  # threads that may wait for the resolver

Resolve = Callable[[str], Sequence[Address]]
"""The addresses of a name, best first; OSError where it has none."""


def by_system(name: str) -> Sequence[Address]:
    """Ask the system's resolver; may take long."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


class Deadline:
    """The end of one exchange, on the monotonic clock."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._at = time.monotonic() + after_s

    def left_s(self) -> float:
        """What is left of it, more than none.

        Raises:
            FetchFailed: It is over.
        """
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise self.missed()
        return left_s

    def missed(self) -> FetchInterrupted:
        """The error of an exchange that took longer."""
        return FetchInterrupted(f"took longer than {self._after_s:g} s")


class HostResolver:
    """Resolves names in threads of its own, for the system's resolver cannot be interrupted."""

    def __init__(self, resolve: Resolve = by_system) -> None:
        self._resolve = resolve
        self._free = threading.BoundedSemaphore(_MAX_LOOKUPS)

    def addresses(self, host: str, deadline: Deadline) -> Sequence[Address]:
        """The addresses of a name or of a literal address.

        Raises:
            FetchFailed: It has none, or the answer comes too late.
            Unavailable: Too many lookups hang.
        """
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"DNS is slow: {_MAX_LOOKUPS} lookups are in flight; try again later")
        answer: Future[Sequence[Address]] = Future()
        threading.Thread(
            target=self._look_up, args=(host, answer), name="resolve", daemon=True
        ).start()
        try:
            found = answer.result(timeout=deadline.left_s())
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
        if not found:
            raise FetchFailed("has a host name without an address")
        return found

    def _look_up(self, host: str, answer: Future[Sequence[Address]]) -> None:
        try:
            answer.set_result(self._resolve(host))
        except Exception as exc:  # noqa: BLE001  whoever waits gets it
            answer.set_exception(exc)
        finally:
            self._free.release()


class BoundedConnection(httpcore.NetworkStream):
    """A connection whose deadline is that of the exchange, and whose bytes are counted."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._allowed = _HEADER_BYTES

    def allow(self, max_bytes: int) -> None:
        """Let so many more bytes be read from here on."""
        self._allowed = max_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Some bytes.

        Raises:
            FetchFailed: The deadline is over, or more came than is allowed.
        """
        if self._allowed <= 0:
            raise FetchFailed("sent more header or framing bytes than are accepted")
        found = self._stream.read(min(max_bytes, self._allowed), self._deadline.left_s())
        self._allowed -= len(found)
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send a piece at a time, so that each has what is left of the deadline."""
        for start in range(0, len(buffer), 16384):
            self._stream.write(buffer[start : start + 16384], self._deadline.left_s())

    def close(self) -> None:
        """End it."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> BoundedConnection:
        """Encrypt it, and see that the other end is who the URL says; on the same deadline."""
        self._stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left_s())
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a stream."""
        return self._stream.get_extra_info(info)


class Dialler(httpcore.NetworkBackend):
    """Connects one exchange. Its `line` is there once it is connected."""

    def __init__(
        self, resolver: HostResolver, networks: Collection[Network], deadline: Deadline
    ) -> None:
        self._resolver = resolver
        self._networks = networks
        self._deadline = deadline
        self.line: BoundedConnection | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> BoundedConnection:
        """Resolve, judge every address, and dial them one after another.

        Raises:
            FetchFailed: An address is refused, or none answers.
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
            self.line = BoundedConnection(stream, self._deadline)
            return self.line
        self._deadline.left_s()
        raise FetchInterrupted("does not accept the connection")
