"""Reads one S3 object as a stream, and resumes after a broken connection."""

from __future__ import annotations

import io
from typing import Any

from shared.adapters.s3.calls import S3Calls
from shared.errors import (
    ConfigurationError,
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)


class ObjectReader(io.RawIOBase):
    """An object read forward; a connection that broke or was idle too long is opened again.

    Args:
        calls: The client.
        where: Bucket and key.
        start: The first byte to read; nothing before it is asked for.
        end: Where to stop, as in a slice; nothing behind it is asked for.

    Attributes:
        etag: of the object that is read.

    Raises:
        ObjectMissing: There is no such object.
        StoreUnavailable: From reads too; also when the object was replaced meanwhile.
    """

    def __init__(
        self, calls: S3Calls, where: dict[str, str], *, start: int = 0, end: int | None = None
    ) -> None:
        self._calls = calls
        self._where: dict[str, str] = where
        self._offset = start
        part = {"Range": _range(start, end)} if start or end is not None else {}
        found = calls.attempt(lambda s3: s3.get_object(**where, **part))
        self._body: Any = found["Body"]
        if part and not str(found.get("ContentRange", "")).startswith(f"bytes {start}-"):
            self._drop()
            raise StoreUnavailable("The object store did not return the requested range.")
        self._end = start + int(found["ContentLength"])
        self.etag = str(found["ETag"])
        self._same = {"IfMatch": self.etag}

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._offset >= self._end:
            return 0
        try:
            data = self._calls.attempt(lambda s3: self._read(s3, len(buffer)))
        except (PreconditionFailed, ObjectMissing) as exc:
            raise StoreUnavailable("The object was replaced while it was read.") from exc
        except ConfigurationError as exc:
            raise StoreUnavailable("Access to the object was revoked while it was read.") from exc
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

    def _read(self, s3: Any, size: int) -> bytes:
        if self._body is None:
            rest = {"Range": _range(self._offset, self._end)}
            self._body = s3.get_object(**self._where, **self._same, **rest)["Body"]
        whole = False
        try:
            data = bytes(self._body.read(size))
            whole = True
        finally:
            if not whole:
                self._drop()
        return data

    def _drop(self) -> None:
        body, self._body = getattr(self, "_body", None), None
        if body is not None:
            body.close()


def _range(start: int, end: int | None) -> str:
    return f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
