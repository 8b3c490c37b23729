"""Response bytes on their way from threads to a client.

A thread writes to the socket itself, which mostly accepts everything at once and saves a detour
over the event loop. The event loop sends the rest, with a deadline.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from api.server.client_deadlines import TransferDeadline
from api.server.shared_state import ServerState


class ClientGone(Exception):
    """Raised when the connection has ended."""


class Writer:
    """The way to one client. Only `write` is called by threads, and by one at a time.

    Args:
        site: Has the bounds.
        transport: The connection; what it holds is `unsent`.
        sent: Called when the client has taken what the kernel did not take at once, with whether
            the answer goes on.
        abandoned: Called where an answer that would go on has no client any more.
    """

    def __init__(
        self,
        site: ServerState,
        transport: asyncio.Transport,
        *,
        sent: Callable[[bool], None],
        abandoned: Callable[[], None],
    ) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._when_sent = sent
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._goes_on = False
        self._pace: TransferDeadline | None = None
        self._idle_since = 0.0
        self._full_since = 0.0
        self._size = 0  # of what the transport held when we last looked
        self.closed = False
        self.unsent = False  # bytes of threads come after those that the transport holds
        transport.set_write_buffer_limits(high=0)

    def write(self, buffers: list[bytes], *, go_on: bool) -> bool:
        """Send bytes; whether they were sent at once. If not, `sent` will be called.

        Raises:
            ClientGone: The connection has ended.
        """
        with self._lock:
            if self.closed:
                raise ClientGone
            written = 0
            if not self.unsent:
                try:
                    written = os.writev(self._fd, buffers)
                except BlockingIOError:
                    pass
                except OSError as exc:
                    raise ClientGone from exc
                if written == sum(map(len, buffers)):
                    return True
                self.unsent = True
        rest = b"".join(buffers)[written:]
        self._loop.call_soon_threadsafe(self._write, rest, go_on)
        return False

    @property
    def unsent_bytes(self) -> int:
        """What the client has not taken."""
        return self._transport.get_write_buffer_size() if self.unsent else 0

    def held_s(self, now: float) -> float:
        """For how long the client has left some of what was written."""
        return now - self._full_since if self.unsent else 0.0

    def is_late(self, now: float) -> bool:
        """Whether the client takes its answer too slowly."""
        if self._pace is None or not self.unsent:
            return False
        size = self.unsent_bytes
        if size < self._size:
            self._pace.moved(self._size - size, now=now)
        self._size = size
        return self._pace.deadline <= now

    def answer_is_over(self) -> None:
        """The next answer begins with all its time."""
        self._pace = None

    def close(self) -> None:
        """The connection ends: no thread writes to its descriptor any more, which is free then."""
        with self._lock:
            self.closed = True
        goes_on, self._goes_on = self._goes_on, False
        if goes_on:
            self._abandoned()

    def transport_is_full(self) -> None:
        """It holds bytes."""
        with self._lock:
            self.unsent = True

    def transport_is_empty(self) -> None:
        """It holds none any more."""
        self._sent(self._size)

    def _write(self, data: bytes, go_on: bool) -> None:
        """Send what the kernel did not take at once."""
        if self.closed:
            if go_on:
                self._abandoned()
            return
        self._goes_on = go_on
        self._full_since = now = self._site.now()
        if self._pace is None:
            self._pace = TransferDeadline(self._site.response_timeout_s, now=now)
        else:
            self._pace.resumed(now - self._idle_since, now=now)
        self._transport.write(data)
        self._size = self._transport.get_write_buffer_size()
        if self._size == 0:
            self._sent(len(data))

    def _sent(self, count: int) -> None:
        with self._lock:
            self.unsent = False
        self._size = 0
        self._idle_since = self._site.now()
        if self._pace is not None:
            self._pace.moved(count, now=self._idle_since)
        goes_on, self._goes_on = self._goes_on, False
        self._when_sent(goes_on)
