"""A body larger than memory: read in chunks, with a limit, and written to the object store."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, Protocol

from api.schemas import body
from shared.errors import BodyTooLarge
from shared.validation import refuse


class Readable(Protocol):
    """A stream of bytes that is read once."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`, and none at the end."""


class LargeBody:
    """A readable stream; errors are raised where it is read.

    Args:
        stream: Ends with the body, also where its length is not announced.
        length: `Content-Length`, None for a chunked body.
        max_bytes: Most that is accepted.
        awaits_continue: The client sends nothing until it is told to (`Expect: 100-continue`).
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        length: int | None,
        max_bytes: int,
        awaits_continue: bool = False,
    ) -> None:
        self._stream = stream
        self._length = length
        self._max_bytes = max_bytes
        self._awaits_continue = awaits_continue
        self._head = b""
        self._size = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of all bytes read so far."""
        return self._digest.digest()

    def peek(self, size: int) -> bytes:
        """The first bytes, fewer only where the body is shorter; `read` gives them again.

        Raises:
            PigeonholeError: As for `read`.
        """
        if self._length is not None and self._length > self._max_bytes:
            self._too_large()
        head = bytearray(self._head)
        while len(head) < size and (more := self._more(size - len(head))):
            head += more
        self._head = bytes(head)
        return self._head[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`, and none at the end.

        Raises:
            BodyTooLarge: There are more than `max_bytes`.
            InvalidRequest: The connection ended before the body did.
        """
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._more(size)

    def drain(self) -> None:
        """Drain a refused body, so that the client reads the response."""
        if self._size or not self._awaits_continue:
            body.drain(self._stream, max_bytes=2 * self._max_bytes)

    def _more(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._size += len(data)
        if self._size > self._max_bytes:
            self._too_large()
        if not data and self._length is not None and self._size < self._length:
            refuse("body", f"ended after {self._size} of {self._length} bytes")
        self._digest.update(data)
        return data

    def _too_large(self) -> None:
        message = (
            f"at most {self._max_bytes} bytes are allowed; ask the operator to raise the limit"
        )
        refuse("body", message, BodyTooLarge)
