"""An upload to S3 in parts: a stream of any length in bounded memory, whole or not at all."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from shared.adapters.s3.calls import S3Calls
from shared.errors import PigeonholeError

_PARTS_OF_ONE_SIZE = 1000


@contextmanager
def upload(calls: S3Calls, where: dict[str, str], **about: Any) -> Iterator[dict[str, str]]:
    """Begin an upload to be completed in the block; if that raises, it is aborted.

    `about` is what the object has beside its bytes: `ContentType`, `Metadata`.
    """
    begun = calls.attempt(lambda s3: s3.create_multipart_upload(**where, **about))
    named = {**where, "UploadId": str(begun["UploadId"])}
    done = False
    try:
        yield named
        done = True
    finally:
        if not done:
            with suppress(PigeonholeError):
                calls.attempt(lambda s3: s3.abort_multipart_upload(**named))


def send_parts(
    calls: S3Calls, named: dict[str, str], chunk: bytes, stream: BinaryIO, part_bytes: int
) -> dict[str, Any]:
    """Send a first part and the rest of the stream; what the end of the upload has to list."""
    parts: list[dict[str, Any]] = []
    while chunk:
        part = {**named, "PartNumber": len(parts) + 1, "Body": chunk}
        sent = calls.attempt(operator.methodcaller("upload_part", **part))
        parts.append({"PartNumber": part.pop("PartNumber"), "ETag": sent["ETag"]})
        del part  # with its bytes, before the next ones are read
        # An upload may have 10,000 parts. Growing by a part's size every thousand makes that
        # 440 GB instead of 80, and keeps smaller uploads at parts of one size.
        chunk = read_full(stream, part_bytes * (1 + len(parts) // _PARTS_OF_ONE_SIZE))
    return {"Parts": parts}


def read_full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end; a raw stream may return fewer at any time."""
    data = stream.read(size)
    if not data or len(data) == size:
        return data
    gathered = bytearray(data)
    while len(gathered) < size and (data := stream.read(size - len(gathered))):
        gathered += data
    return bytes(gathered)
