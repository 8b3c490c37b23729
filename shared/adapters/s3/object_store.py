"""The object store on an S3 server, such as AWS, SeaweedFS, RustFS or Ceph.

Decides which requests a call becomes, and how a write whose response was lost is told from a
conflict. `calls` decides how often a request is retried and what a response means.
"""

from __future__ import annotations

import copy
import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO

from shared import media_types
from shared.adapters.conditional_write_probe import lacking, prove
from shared.adapters.object_key_rules import MAX_PREFIX_BYTES, check_name
from shared.adapters.s3.calls import S3Calls
from shared.adapters.s3.listing import children, objects
from shared.adapters.s3.multipart_upload import read_full, send_parts, upload
from shared.adapters.s3.reader import ObjectReader
from shared.errors import (
    ConfigurationError,
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)
from shared.ports import StoredObject

_MARK = "pigeonhole-write"
_BUFFER_BYTES = 1 << 18


class S3Store:
    """An `ObjectStore` in a bucket, safe for any number of threads.

    A writer that is killed during a multipart upload leaves its parts, invisible but stored; a
    lifecycle rule of the bucket (AbortIncompleteMultipartUpload) removes them.

    Args:
        bucket: The bucket, which must exist.
        prefix: Put before every name, with a `/` between; at most 124 bytes.
        endpoint: The server's URL; AWS if None.
        region: The bucket's region; boto3's own search if None.
        access_key: With `secret_key`; boto3's own search (environment, role) if None.
        secret_key: See `access_key`.
        addressing: `path`, `virtual` or `auto`; see `S3Calls`.
        ca: File of the CA certificates of the server.
        timeout_s: The bound of a call, as `S3Calls.attempt` explains it.
        part_bytes: Data of this size or more is sent in parts of it, at least 5 MiB; a stream
            has two of them in memory.
        page_names: Names asked for at once when listing, at most 1,000.
        connections: Connections kept open.

    Raises:
        ConfigurationError: The settings do not fit; nothing is sent yet.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        addressing: str = "auto",
        ca: str | None = None,
        timeout_s: float = 5.0,
        part_bytes: int = 8 << 20,
        page_names: int = 1000,
        connections: int = 64,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        if len(self._prefix.encode()) > MAX_PREFIX_BYTES:
            raise ConfigurationError(f"An S3 prefix must not exceed {MAX_PREFIX_BYTES - 1} bytes.")
        self._part_bytes = part_bytes
        self._page_names = page_names
        self._calls = S3Calls(
            endpoint=endpoint,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            addressing=addressing,
            ca=ca,
            timeout_s=timeout_s,
            connections=connections,
        )

    def probe(self) -> None:
        starting = copy.copy(self)
        starting._calls = self._calls.strict()
        starting._page({"MaxKeys": 1})  # before anything is written: is it there, does it let us in
        prove(starting, server=self._calls.server)
        starting._prove_uploads()

    def get(self, name: str) -> StoredObject:
        where = self._where(name)

        def read(s3: Any) -> StoredObject:
            found = s3.get_object(**where)
            with found["Body"] as body:
                return StoredObject(data=body.read(), etag=found["ETag"])

        return self._calls.attempt(read)

    def open(self, name: str, *, start: int = 0, end: int | None = None) -> BinaryIO:
        if end is not None and end <= start:
            return io.BytesIO()
        reader = ObjectReader(self._calls, self._where(name), start=start, end=end)
        return io.BufferedReader(reader, _BUFFER_BYTES)

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        media_type: str | None = None,
    ) -> str:
        where = self._where(name)
        condition = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = if_match
        about = {"ContentType": media_type or media_types.of_object(name)}
        stream = io.BytesIO(data) if isinstance(data, bytes) else data
        first = read_full(stream, self._part_bytes)
        if len(first) == self._part_bytes:
            self._check_early(where, condition)
            return self._put_parts(where, first, stream, condition, about)
        mark = _new_mark()
        return self._settled(
            where,
            condition,
            mark,
            lambda s3: s3.put_object(**where, **condition, **about, Body=first, Metadata=mark),
        )

    def delete(self, name: str) -> None:
        where = self._where(name)
        with suppress(ObjectMissing):
            self._calls.attempt(lambda s3: s3.delete_object(**where))

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        for found in objects(
            self._page,
            self._prefix + prefix,
            after=self._prefix + after if after else "",
        ):
            yield found["Key"][len(self._prefix) :]

    def children(self, prefix: str, *, after: str = "") -> Iterator[str]:
        return children(self._page, self._prefix + prefix, after=after)

    def now(self) -> float:
        date = self._page({"MaxKeys": 1})["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            # It is cut to whole seconds, so half a second is what it lacks on the average.
            return parsedate_to_datetime(date).timestamp() + 0.5
        except ValueError:
            raise StoreUnavailable("The object store sends no Date header.") from None

    def presign_put(self, name: str, *, expires_s: int) -> str | None:
        where = self._where(name)
        return self._calls.attempt(
            lambda s3: str(s3.generate_presigned_url("put_object", where, ExpiresIn=expires_s))
        )

    def presign_post(
        self, name: str, *, expires_s: int, max_bytes: int
    ) -> tuple[str, dict[str, str]] | None:
        where = self._where(name)
        size = ["content-length-range", 1, max_bytes]
        form = self._calls.attempt(
            lambda s3: s3.generate_presigned_post(
                where["Bucket"], where["Key"], Conditions=[size], ExpiresIn=expires_s
            )
        )
        return str(form["url"]), dict(form["fields"])

    def _where(self, name: str) -> dict[str, str]:
        check_name(name)
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _page(self, arguments: dict[str, Any]) -> dict[str, Any]:
        # Never beyond our prefix, which may be all that the credentials let us list.
        begin = {"Bucket": self._bucket, "Prefix": self._prefix, "MaxKeys": self._page_names}
        arguments = {**begin, **arguments}
        page: dict[str, Any] = self._calls.attempt(lambda s3: s3.list_objects_v2(**arguments))
        return page

    def _settled(
        self,
        where: dict[str, str],
        condition: dict[str, str],
        mark: dict[str, str],
        write: Callable[[Any], Any],
    ) -> str:
        """Run the request that makes an object visible; returns the ETag.

        The answer to a write can get lost and the write be sent again, by us or by a proxy. The
        second one then meets the first, and reads as another writer's. So every write carries a
        mark of its own as metadata, and one that is refused looks whose mark the object has.
        (The bytes would not tell: two writers may write the same.)
        """
        try:
            return str(self._calls.attempt(write)["ETag"])
        except (PreconditionFailed, ObjectMissing) as exc:
            found = self._head(where)
            if found.get("Metadata", {}).get(_MARK) == mark[_MARK]:
                return str(found["ETag"])
            # Refused because something is there, or because what must be there is not: a conflict.
            if (condition and found) or "IfMatch" in condition:
                raise PreconditionFailed("Another writer changed the object first.") from exc
            raise StoreUnavailable("The object store lost a write; try again.") from exc

    def _head(self, where: dict[str, str]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._calls.attempt(lambda s3: s3.head_object(**where))
        except ObjectMissing:
            return {}
        return found

    def _check_early(self, where: dict[str, str], condition: dict[str, str]) -> None:
        """Refuse before gigabytes are sent what the last request of an upload would refuse."""
        etag = self._head(where).get("ETag") if condition else None
        if condition.get("IfMatch", etag) != etag or (etag and "IfNoneMatch" in condition):
            raise PreconditionFailed("Another writer changed the object first.")

    def _put_parts(
        self,
        where: dict[str, str],
        first: bytes,
        stream: BinaryIO,
        condition: dict[str, str],
        about: dict[str, str],
    ) -> str:
        """Upload in parts; the object appears, and the condition is checked, with the last call."""
        mark = _new_mark()
        with upload(self._calls, where, Metadata=mark, **about) as named:
            parts = send_parts(self._calls, named, first, stream, self._part_bytes)
            return self._settled(
                where,
                condition,
                mark,
                lambda s3: s3.complete_multipart_upload(
                    **named, **condition, MultipartUpload=parts
                ),
            )

    def _prove_uploads(self) -> None:
        """Prove that an upload in parts does not overwrite; Google's S3 interface, for one, can't.

        If-Match is not asked for here: large objects are created and never compared, and the
        server of our tests ignores it.
        """
        name = f"probe/{uuid.uuid4().hex}"
        self.put(name, b"first")
        try:
            self._put_parts(self._where(name), b"second", io.BytesIO(), {"IfNoneMatch": "*"}, {})
        except PreconditionFailed:
            return
        finally:
            with suppress(StoreUnavailable):
                self.delete(name)
        raise lacking(self._calls.server, ["If-None-Match when a multipart upload is completed"])


def _new_mark() -> dict[str, str]:
    return {_MARK: uuid.uuid4().hex}
