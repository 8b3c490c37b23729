"""The file of a multipart call, stored for the worker that runs its job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from shared import ids, object_keys
from shared.errors import Unavailable
from shared.ports import ObjectStore


@dataclass(kw_only=True)
class StoredUpload:
    """A file on the store under `place`, for the job `job_id`; `taken` once a request names it."""

    job_id: str
    place: str
    taken: bool = False


@contextmanager
def stored_upload(
    store: ObjectStore, file: BinaryIO | bytes, *, account: str, now: float
) -> Iterator[StoredUpload]:
    """Put a file on the store; it is deleted again where no request takes it.

    A call that is refused, or equal to one before, takes none. What stays nevertheless is deleted
    with old jobs.

    Raises:
        Unavailable: The store did not take it.
    """
    job_id = ids.job_id(int(now * 1000), ids.random_bits())
    upload = StoredUpload(job_id=job_id, place=object_keys.upload(account, job_id))
    store.put(upload.place, file)
    try:
        yield upload
    finally:
        if not upload.taken:
            with suppress(Unavailable):
                store.delete(upload.place)
