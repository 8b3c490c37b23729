"""The use cases of multipart uploads: the parts become one file when the upload is completed.

Each part is an object. Completion reads the parts in order and writes the file whole or not at all.
The record of an upload changes by compare-and-set, so that it ends once. The keeper deletes uploads
that are never completed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

from api.schemas.body_stream import Readable
from api.services.files import FileService
from shared import ids, object_keys, service_clock
from shared.batches import MultipartUpload, StoredFile
from shared.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    ObjectMissing,
    PreconditionFailed,
    Unavailable,
)
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.validation import refuse

_URLS_KEPT_S = 3600
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Uploads:
    """Uploads of accounts. One of another account is not found. `clock` as `service_clock.now`."""

    store: ObjectStore
    files: FileService
    clock: Callable[[], float] = service_clock.now

    def create(
        self, account: str, *, purpose: str, filename: str, size: int, file_retention_s: float
    ) -> MultipartUpload:
        """Begin an upload of a file of `size` bytes."""
        now = self.clock()
        upload = MultipartUpload(
            id=ids.upload_id(int(now * 1000), ids.random_bits()),
            purpose=purpose,
            filename=filename,
            bytes=size,
            created_at=now,
            file_keep_s=file_retention_s,
        )
        self.store.put(object_keys.upload_record(account, upload.id), encode(upload))
        return upload

    def pending(self, account: str, upload_id: str) -> MultipartUpload:
        """An upload that takes parts.

        Raises:
            NotFound: The account has no such upload, or it has expired.
            Conflict: It has ended.
        """
        upload, _ = self._found(account, upload_id)
        _require_pending(upload)
        return upload

    def add(self, account: str, upload: MultipartUpload, content: Readable) -> str:
        """Keep the bytes of a part; the id of it."""
        part_id = ids.part_id()
        name = object_keys.upload_part(account, upload.id, part_id)
        self.store.put(name, cast("BinaryIO", content))
        return part_id

    def discard(self, account: str, upload: MultipartUpload, part_id: str) -> None:
        """Delete a part that was not sent as it must be."""
        with suppress(Unavailable):  # the keeper deletes what stays
            self.store.delete(object_keys.upload_part(account, upload.id, part_id))

    def part_urls(
        self, account: str, upload: MultipartUpload, count: int
    ) -> tuple[list[tuple[str, str]], int]:
        """New parts, each by its id and the URL that takes its bytes; for how many seconds.

        Raises:
            InvalidRequest: The object store has no such URLs.
        """
        expires_s = max(1, min(_URLS_KEPT_S, int(upload.expires_at - self.clock())))
        made: list[tuple[str, str]] = []
        for part_id in (ids.part_id() for _ in range(count)):
            name = object_keys.upload_part(account, upload.id, part_id)
            url = self.store.presign_put(name, expires_s=expires_s)
            if url is None:
                raise InvalidRequest(
                    "this service stores objects in a directory, which has no presigned URLs; send "
                    f"the parts to /v1/uploads/{upload.id}/parts, or ask the operator for an S3 "
                    "object store"
                )
            made.append((part_id, url))
        return made, expires_s

    def complete(
        self, account: str, upload_id: str, part_ids: Sequence[str], *, md5: str | None
    ) -> tuple[MultipartUpload, StoredFile | None]:
        """The upload as ended, with the file; asked again, the same (None: deleted since).

        Raises:
            NotFound: As for `pending`.
            Conflict: It has ended otherwise.
            InvalidRequest: A part is not there, or they are not the file that was announced.
        """
        upload, etag = self._found(account, upload_id)
        if upload.status == "completed" and upload.part_ids == tuple(part_ids):
            with suppress(NotFound):
                return upload, self.files.get(account, upload.file_id)
            return upload, None
        _require_pending(upload)
        self._check_parts(account, upload, part_ids)
        parts = _Joined(self._contents(account, upload, part_ids), size=upload.bytes, md5=md5)
        file = self._file(upload, self.files.write(account, parts, filename=upload.filename))
        self.files.keep(account, file)
        made = {"status": "completed", "part_ids": tuple(part_ids), "file_id": file.id}
        try:
            return self._end(account, upload.model_copy(update=made), etag), file
        except Conflict:  # after any other error the record may have been written: keep the file
            self.files.discard(account, file.id)
            raise

    def cancel(self, account: str, upload_id: str) -> MultipartUpload:
        """End an upload without a file; asked again, the same.

        Raises:
            NotFound: As for `pending`.
            Conflict: It was completed.
        """
        upload, etag = self._found(account, upload_id)
        if upload.status == "cancelled":
            return upload
        _require_pending(upload)
        return self._end(account, upload.model_copy(update={"status": "cancelled"}), etag)

    def _found(self, account: str, upload_id: str) -> tuple[MultipartUpload, str]:
        if ids.is_upload_id(upload_id):
            with suppress(ObjectMissing):
                found = self.store.get(object_keys.upload_record(account, upload_id))
                upload = decode(MultipartUpload, found.data)
                if upload.expires_at > self.clock():
                    return upload, found.etag
        raise NotFound("no such upload; it may have expired, a day after its creation")

    def _check_parts(self, account: str, upload: MultipartUpload, part_ids: Sequence[str]) -> None:
        """Refuse before gigabytes are read what cannot become the file."""
        prefix = object_keys.upload_parts(account, upload.id)
        there = {name.removeprefix(prefix) for name in self.store.list(prefix)}
        seen: set[str] = set()
        for place, part_id in enumerate(part_ids):
            if part_id not in there:
                refuse(f"part_ids[{place}]", "is not a part of this upload, or was not sent yet")
            if part_id in seen:
                refuse(f"part_ids[{place}]", "is given twice; name each part once")
            seen.add(part_id)

    def _contents(
        self, account: str, upload: MultipartUpload, part_ids: Sequence[str]
    ) -> Iterator[bytes]:
        """The bytes of the parts, one after the other."""
        for place, part_id in enumerate(part_ids):
            try:
                part = self.store.open(object_keys.upload_part(account, upload.id, part_id))
            except ObjectMissing:
                refuse(
                    f"part_ids[{place}]",
                    "was deleted: another call has completed or cancelled the upload",
                )
            with part:
                yield from iter(partial(part.read, _CHUNK_BYTES), b"")

    def _file(self, upload: MultipartUpload, file_id: str) -> StoredFile:
        now = self.clock()
        return StoredFile(
            id=file_id,
            purpose=upload.purpose,
            filename=upload.filename,
            bytes=upload.bytes,
            created_at=now,
            expires_at=now + upload.file_keep_s,
        )

    def _end(self, account: str, upload: MultipartUpload, etag: str) -> MultipartUpload:
        """Write down how the upload ended, unless another call was faster; then delete the parts.

        Raises:
            Conflict: Another call was faster.
        """
        try:
            name = object_keys.upload_record(account, upload.id)
            self.store.put(name, encode(upload), if_match=etag)
        except PreconditionFailed:
            raise Conflict(
                "another call has just ended the upload; send the request again"
            ) from None
        with suppress(Unavailable):  # the keeper deletes what stays
            for part in list(self.store.list(object_keys.upload_parts(account, upload.id))):
                self.store.delete(part)
        return upload


def _require_pending(upload: MultipartUpload) -> None:
    if upload.status != "pending":
        raise Conflict(f"the upload is {upload.status}; create a new one")


class _Joined:
    """Parts as one stream, which raises at its end if they are not the file that was announced."""

    def __init__(self, pieces: Iterator[bytes], *, size: int, md5: str | None) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._announced = size
        self._size = 0
        self._md5 = None if md5 is None else md5.lower()
        self._digest = hashlib.md5(usedforsecurity=False)

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`, and none at the end.

        Raises:
            InvalidRequest: They are too many or too few, or not those of the `md5`.
        """
        if not self._rest:
            piece = next(self._pieces, b"")
            self._size += len(piece)
            self._digest.update(piece)
            self._check(ended=not piece)
            self._rest = memoryview(piece)
        found, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return found

    def _check(self, *, ended: bool) -> None:
        if self._size > self._announced:
            refuse(
                "part_ids",
                f"the parts have more than the {self._announced} bytes that were declared",
            )
        if not ended:
            return
        if self._size < self._announced:
            refuse(
                "part_ids",
                f"the parts have {self._size} of the {self._announced} bytes that were declared",
            )
        if self._md5 not in (None, self._digest.hexdigest()):
            refuse("md5", "does not match the parts in this order")
