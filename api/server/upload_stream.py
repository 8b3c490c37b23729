"""A body that the application reads as it arrives: `wsgi.input` of large uploads (backpressure)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from shared.errors import PigeonholeError

_MAX_BUFFERED = 256 * 1024


class UploadStream:
    """Filled on the event loop, read in a thread; at most some 256 KiB wait between the two.

    Args:
        wanted: Called on the reading thread when nothing is there: the client should send.
    """

    def __init__(self, wanted: Callable[[], None]) -> None:
        self._wanted = wanted
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._error: PigeonholeError | None = None
        self.read_from = False  # whether the application has asked for any of it

    def feed(self, piece: bytes) -> bool:
        """Add a piece; says whether the client should stop sending for now."""
        with self._changed:
            self._pieces.append(piece)
            self._buffered += len(piece)
            self._changed.notify()
            return self._buffered >= _MAX_BUFFERED

    def end(self) -> None:
        """The body is complete, or the client has gone: the length tells the reader which."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def fail(self, error: PigeonholeError) -> None:
        """Let the reader raise the error, now and whenever it reads again."""
        with self._changed:
            self._error = error
            self._changed.notify()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`, and none at the end.

        Raises:
            PigeonholeError: The client did not send them in time.
        """
        if size < 0:
            return b"".join(iter(partial(self.read, _MAX_BUFFERED), b""))
        with self._changed:
            self.read_from = True
            while not self._pieces:
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return b""
                self._wanted()
                self._changed.wait()
            piece = self._pieces.popleft()
            if size < len(piece):
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            self._buffered -= len(piece)
            return piece
