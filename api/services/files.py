"""The use cases of files: store, list, read and delete.

A file exists once its record does: the bytes are written before it and deleted after it. The keeper
deletes bytes without a record that a killed call left, and the bytes of deleted files once no job
reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, cast

from api.schemas.body_stream import Readable
from shared import deletions, ids, media_types, object_keys, service_clock
from shared.batches import StoredFile
from shared.errors import NotFound, ObjectMissing, Unavailable
from shared.messages import decode, encode
from shared.ports import ObjectStore


@dataclass(frozen=True, kw_only=True)
class FileService:
    """Files of accounts. A file of another account is not found. `clock` as `service_clock.now`."""

    store: ObjectStore
    clock: Callable[[], float] = service_clock.now

    def write(self, account: str, content: Readable, *, filename: str) -> str:
        """Put the bytes of a file to be on the store; the id that it will have."""
        file_id = self.fresh_id()
        name = object_keys.file_content(account, file_id)
        kind = media_types.of_file(filename)
        self.store.put(name, cast("BinaryIO", content), media_type=kind)
        return file_id

    def keep(self, account: str, file: StoredFile) -> None:
        """Make a file of bytes that were written."""
        self.store.put(object_keys.file(account, file.id), encode(file))

    def discard(self, account: str, file_id: str) -> None:
        """Delete bytes that became no file."""
        with suppress(Unavailable):  # the keeper deletes what stays
            self.store.delete(object_keys.file(account, file_id))
            self.store.delete(object_keys.file_content(account, file_id))

    def get(self, account: str, file_id: str) -> StoredFile:
        """What is known of a file.

        Raises:
            NotFound: The account has no such file, or it has expired.
        """
        file = self._found(account, file_id) if ids.is_file_id(file_id) else None
        if file is None:
            raise NotFound("no such file")
        return file

    def open(self, account: str, file_id: str, *, start: int, end: int) -> BinaryIO:
        """Some bytes of a file that `get` has found; the caller closes them.

        Raises:
            NotFound: It went meanwhile.
        """
        try:
            return self.store.open(object_keys.file_content(account, file_id), start=start, end=end)
        except ObjectMissing:
            raise NotFound("no such file") from None

    def list(
        self, account: str, *, after: str, limit: int, purpose: str | None, newest_first: bool
    ) -> tuple[list[StoredFile], bool]:
        """Files after the one called `after`; and whether there are more."""
        found = (self._found(account, each) for each in self._ids(account, after, newest_first))
        wanted = (f for f in found if f is not None and purpose in (None, f.purpose))
        page = list(islice(wanted, limit + 1))
        return page[:limit], len(page) > limit

    def delete(self, account: str, file_id: str) -> None:
        """Delete a file; its bytes once no job is open that may still read them.

        Raises:
            NotFound: As for `get`.
        """
        self.get(account, file_id)
        record, content = (
            object_keys.file(account, file_id),
            object_keys.file_content(account, file_id),
        )
        deletions.delete(self.store, record, [content], account=account, now=self.clock())

    def fresh_id(self) -> str:
        """The id of a file to be."""
        return ids.file_id(int(self.clock() * 1000), ids.random_bits())

    def _found(self, account: str, file_id: str) -> StoredFile | None:
        try:
            file = decode(StoredFile, self.store.get(object_keys.file(account, file_id)).data)
        except ObjectMissing:
            return None
        expired = file.expires_at is not None and file.expires_at <= self.clock()
        return None if expired else file

    def _ids(self, account: str, after: str, newest_first: bool) -> Iterator[str]:
        """Ids sort newest first; for the other order all of them are read."""
        if newest_first:
            return self.store.children(object_keys.files_of(account), after=after)
        all_of_them = list(self.store.children(object_keys.files_of(account)))
        return (each for each in reversed(all_of_them) if not after or each < after)
