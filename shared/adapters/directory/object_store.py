"""The object store as a directory: the embedded default, on one machine or one shared volume.

Decides how a write becomes atomic and durable, and how conditions hold between processes. Does not
decide how names become paths (`directory_paths`), nor how a lock waits (`file_lock`).

    root/jobs.d/j1.d/job.json   an object (see `directory_paths`)
    root/.new/                  unfinished writes; never listed, old ones are deleted at start
    root/.locks/                256 lock files; names share them by checksum
    root/.now                   touched to read the time of the file system
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from shared.adapters.conditional_write_probe import prove
from shared.adapters.directory.directory_paths import directory_of, names, path_of, segments
from shared.adapters.directory.file_lock import hold
from shared.adapters.object_key_rules import check_name
from shared.errors import ObjectMissing, PreconditionFailed, StoreFull, StoreUnavailable
from shared.ports import StoredObject

_CHUNK_BYTES = 1 << 20
_LOCKS = 256
_LEFT_BEHIND_S = 3600
_PLACEMENTS = 100


class DirectoryStore:
    """An `ObjectStore` below a directory, for any number of threads and processes.

    An ETag is a hash of the content, as on S3: content that was replaced and came back has its
    old ETag, so `if_match` says "these are still the bytes I read", not "no process wrote since". A
    record that must tell the two apart carries a counter.

    Args:
        root: Made if need be, for the owner only. If it vanishes later (an unmounted volume),
            calls raise `StoreUnavailable` rather than find nothing.
        timeout_s: How long a write waits for other writers of the same name.

    Raises:
        StoreUnavailable: The directory cannot be made or written.
    """

    def __init__(self, root: Path, *, timeout_s: float = 5.0) -> None:
        self._root = os.path.abspath(root)
        self._new = f"{self._root}/.new"
        self._locks = f"{self._root}/.locks"
        self._timeout_s = timeout_s
        with _translated():
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            os.makedirs(self._new, exist_ok=True)
            os.makedirs(self._locks, exist_ok=True)
            self._sweep()

    def probe(self) -> None:
        prove(self, server=f"in {self._root}")

    def get(self, name: str) -> StoredObject:
        with self._opened(name) as file:
            data = file.readall()
        return StoredObject(data=data, etag=_etag(hashlib.sha256(data)))

    def open(self, name: str, *, start: int = 0, end: int | None = None) -> BinaryIO:
        file = self._opened(name)
        file.limit(start, end)
        return io.BufferedReader(file, _CHUNK_BYTES)

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        media_type: str | None = None,  # noqa: ARG002 - a directory has no place for it
    ) -> str:
        check_name(name)
        path = path_of(self._root, name)
        new = f"{self._new}/{secrets.token_hex(16)}"
        try:
            etag = _write(new, data)
            # Unconditional writers take the lock as well: one of them between the comparison
            # and the rename would be overwritten by a writer whose condition no longer holds.
            with _translated(), self._locked(name):
                if (if_absent and os.path.exists(path)) or (
                    if_match is not None and if_match != _current_etag(path)
                ):
                    raise PreconditionFailed(f"Another writer changed {name} first.")
                self._place(new, path)
        finally:
            with suppress(OSError):
                os.unlink(new)
        return etag

    def delete(self, name: str) -> None:
        check_name(name)
        path = path_of(self._root, name)
        with _translated():
            with self._locked(name):
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    return
            _sync_directory(self._prune(os.path.dirname(path)))

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        # From the deepest directory that the prefix names: `jobs/j1/` never reads all of `jobs/`.
        head, slash, _ = prefix.rpartition("/")
        start = directory_of(self._root, head)
        with _translated():
            self._require_root()
            found = names(
                start, (head + slash).encode(), prefix=prefix.encode(), after=after.encode()
            )
            for name in found:
                yield name.decode()

    def children(self, prefix: str, *, after: str = "") -> Iterator[str]:
        start = directory_of(self._root, prefix.removesuffix("/"))
        with _translated():
            self._require_root()
            for segment in segments(start, b"", after=after.encode()):
                yield segment.decode()

    def now(self) -> float:
        """As the file system dates a file that is touched: on a shared volume, its server's clock.

        A disk that is full does it too, so that what has expired can be deleted.
        """
        path = f"{self._root}/.now"
        with _translated():
            try:
                os.utime(path)
            except FileNotFoundError:
                self._require_root()
                with open(path, "ab"):
                    pass
                os.utime(path)
            return os.stat(path).st_mtime

    def presign_put(self, name: str, *, expires_s: int) -> str | None:  # noqa: ARG002
        check_name(name)
        return None  # no other process can write here

    def presign_post(
        self,
        name: str,
        *,
        expires_s: int,  # noqa: ARG002
        max_bytes: int,  # noqa: ARG002
    ) -> tuple[str, dict[str, str]] | None:
        check_name(name)
        return None

    def _opened(self, name: str) -> _ObjectFile:
        check_name(name)
        with _translated():
            try:
                return _ObjectFile(path_of(self._root, name))
            except FileNotFoundError as exc:
                self._require_root()
                raise ObjectMissing(f"There is no object {name}.") from exc

    def _locked(self, name: str) -> AbstractContextManager[None]:
        lock = zlib.crc32(name.encode()) % _LOCKS
        return hold(f"{self._locks}/{lock:02x}", timeout_s=self._timeout_s)

    def _place(self, new: str, path: str) -> None:
        """Rename into place, making directories that are missing or being pruned meanwhile."""
        directory = os.path.dirname(path)
        for _ in range(_PLACEMENTS):
            try:
                os.replace(new, path)
            except FileNotFoundError:
                _make_directories(directory)
            else:
                # Still under the lock: a writer told that it lost may rely on the winner.
                _sync_directory(directory)
                return
        raise StoreUnavailable(
            "The object store's directory was removed repeatedly during a write."
        )

    def _prune(self, directory: str) -> str:
        """Remove empty directories upwards; returns the first that stays.

        `rmdir` refuses a directory with entries, and a writer whose directory went away makes
        it again, so no lock is needed. The uppermost ones stay: `open/` is empty every minute.
        """
        while os.path.dirname(directory) != self._root:
            try:
                os.rmdir(directory)
            except OSError:
                break
            directory = os.path.dirname(directory)
        return directory

    def _sweep(self) -> None:
        """Remove what writers that died left behind; one still writing is younger."""
        before = self.now() - _LEFT_BEHIND_S
        with os.scandir(self._new) as scan:
            for entry in scan:
                with suppress(FileNotFoundError):  # another process sweeps as well
                    if entry.stat().st_mtime < before:
                        os.unlink(entry.path)

    def _require_root(self) -> None:
        if not os.path.isdir(self._new):
            raise StoreUnavailable("The object store's directory does not exist.")


class _ObjectFile(io.FileIO):
    """A file whose read errors are ours."""

    _left: int | None = None  # bytes that may be read, where they are limited

    def limit(self, start: int, end: int | None) -> None:
        """Read no other bytes than those from `start` to `end`."""
        if start:
            self.seek(start)
        self._left = None if end is None else max(0, end - start)

    def readinto(self, buffer: Any) -> int:
        if self._left is not None:
            buffer = memoryview(buffer)[: self._left]
        with _translated():
            count = super().readinto(buffer) or 0
        if self._left is not None:
            self._left -= count
        return count

    def readall(self) -> bytes:
        if self._left is not None:
            return b"".join(iter(lambda: self.read(self._left or 0) or b"", b""))
        with _translated():
            return super().readall() or b""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        buffer = bytearray(size)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])


def _write(path: str, data: bytes | BinaryIO) -> str:
    """Write and sync a new file in bounded memory; returns the ETag."""
    digest = hashlib.sha256()
    with _translated():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for chunk in _chunks(data):
            digest.update(chunk)
            with _translated():
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        with _translated():
            os.fsync(descriptor)
    finally:
        with _translated():
            os.close(descriptor)
    return _etag(digest)


def _chunks(data: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    while chunk := data.read(_CHUNK_BYTES):
        yield chunk


def _etag(digest: Any) -> str:
    return str(digest.hexdigest()[:32])


def _current_etag(path: str) -> str | None:
    try:
        with open(path, "rb") as stream:
            return _etag(hashlib.file_digest(stream, "sha256"))
    except FileNotFoundError:
        return None


def _make_directories(directory: str) -> None:
    """Make a directory and its parents, each made durable in its parent."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return  # pruned meanwhile; the caller comes again
        _sync_directory(os.path.dirname(path))


def _sync_directory(directory: str) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # what was in it is deleted already
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FULL_RETRY_S = 10
_FULL = {
    errno.ENOSPC: "The object store's disk is full.",
    errno.EDQUOT: "The object store's disk quota is used up.",
}
_SENTENCES = {
    errno.EFBIG: "The object is larger than the object store's disk or the process limit allows.",
    errno.EACCES: "This process has no permission for the object store's directory.",
    errno.EPERM: "This process has no permission for the object store's directory.",
    errno.EROFS: "The object store's disk is read-only.",
    errno.EIO: "The object store's disk reports an error.",
    errno.EMFILE: "The process has too many open files.",
}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreFull(_FULL[exc.errno], retry_after_s=_FULL_RETRY_S) from exc
        reason = os.strerror(exc.errno or 0)
        sentence = _SENTENCES.get(exc.errno or 0, f"The object store's directory failed: {reason}.")
        raise StoreUnavailable(sentence) from exc
