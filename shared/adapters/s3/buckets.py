"""Objects in the buckets of users, read and written where the operator allows it.

Decides what is allowed (`bucket_allowlist`) and which error a refusal of the server is for the
caller who named the address. `calls` decides how often a request is retried.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from shared import media_types
from shared.adapters.bucket_allowlist import BucketAllowlist, BucketLocation
from shared.adapters.s3.calls import S3Calls
from shared.adapters.s3.listing import objects
from shared.adapters.s3.multipart_upload import read_full, send_parts, upload
from shared.adapters.s3.reader import ObjectReader
from shared.errors import ConfigurationError, ObjectMissing, StoreUnavailable
from shared.ports import BucketObject
from shared.settings import PREFIX, Settings
from shared.validation import refuse

_BUFFER_BYTES = 1 << 18
_CONNECTIONS = 16


class S3Buckets:
    """`Buckets` on an S3 server, safe for any number of threads.

    Args:
        inputs: Where requests may read from.
        outputs: Where they may write to.
        calls: The client; not needed where no place is allowed.
        part_bytes: Data of this size or more is sent in parts of it, at least 5 MiB; a stream
            has two of them in memory.
    """

    def __init__(
        self,
        *,
        inputs: BucketAllowlist,
        outputs: BucketAllowlist,
        calls: S3Calls | None,
        part_bytes: int = 8 << 20,
    ) -> None:
        self._inputs = inputs
        self._outputs = outputs
        self._client = calls and calls.strict()
        self._part_bytes = part_bytes

    def check(self, url: str, *, write: bool) -> None:
        (self._outputs if write else self._inputs).find(url)

    def find(self, url: str) -> BucketObject:
        place = self._object(self._inputs, url)
        with _refused(self._inputs):
            found = self._calls.attempt(lambda s3: s3.head_object(**_where(place)))
        return BucketObject(
            url=url, bytes=int(found["ContentLength"]), etag=_bare(str(found["ETag"]))
        )

    def open(self, url: str, *, etag: str = "") -> BinaryIO:
        place = self._object(self._inputs, url)
        with _refused(self._inputs):
            reader = ObjectReader(self._calls, _where(place))
        if etag and _bare(reader.etag) != etag:
            reader.close()
            refuse(self._inputs.field, "was changed after it was first read; start again")
        return io.BufferedReader(reader, _BUFFER_BYTES)

    def list(self, url: str) -> Iterator[BucketObject]:
        place = self._inputs.find(url)
        bucket = {"Bucket": place.bucket}

        def page(arguments: dict[str, Any]) -> dict[str, Any]:
            with _refused(self._inputs):
                found: dict[str, Any] = self._calls.attempt(
                    lambda s3: s3.list_objects_v2(**bucket, **arguments)
                )
            return found

        for found in objects(page, place.key):
            yield BucketObject(
                url=BucketLocation(place.bucket, found["Key"]).url,
                bytes=int(found["Size"]),
                etag=_bare(found["ETag"]),
            )

    def put(self, url: str, stream: BinaryIO, *, media_type: str | None = None) -> None:
        place = self._object(self._outputs, url)
        where = _where(place)
        about = {"ContentType": media_type or media_types.of_file(place.key)}
        first = read_full(stream, self._part_bytes)
        with _refused(self._outputs):
            if len(first) < self._part_bytes:
                self._calls.attempt(lambda s3: s3.put_object(**where, **about, Body=first))
                return
            with upload(self._calls, where, **about) as named:
                parts = send_parts(self._calls, named, first, stream, self._part_bytes)
                self._complete(named, parts)

    def _complete(self, named: dict[str, str], parts: dict[str, Any]) -> None:
        """End an upload; where the answer is lost, it ended and is not known any more."""
        try:
            self._calls.attempt(
                lambda s3: s3.complete_multipart_upload(**named, MultipartUpload=parts)
            )
        except ObjectMissing as exc:
            raise StoreUnavailable("The bucket's server lost a write; try again.") from exc

    @property
    def _calls(self) -> S3Calls:
        assert self._client is not None, "the allowlist is empty, so no location passes it"
        return self._client

    def _object(self, places: BucketAllowlist, url: str) -> BucketLocation:
        place = places.find(url)
        if not place.key or place.key.endswith("/"):
            refuse(places.field, "must name one object, not a prefix")
        return place


def buckets_of(settings: Settings) -> S3Buckets:
    """The buckets that the settings allow.

    Raises:
        ConfigurationError: A place is no address, or holds our own store, or lies in it.
    """
    inputs = BucketAllowlist.of(settings.s3_inputs, field="input_url", setting=f"{PREFIX}S3_INPUTS")
    outputs = BucketAllowlist.of(
        settings.s3_outputs, field="output_url", setting=f"{PREFIX}S3_OUTPUTS"
    )
    allowed = (*inputs.allowed, *outputs.allowed)
    if not allowed:
        return S3Buckets(inputs=inputs, outputs=outputs, calls=None)
    for own in BucketAllowlist.of(
        _own(settings), field="", setting=f"{PREFIX}OBJECT_STORE"
    ).allowed:
        if any(own.holds(place) or place.holds(own) for place in allowed):
            raise ConfigurationError(
                f"{inputs.setting} and {outputs.setting} must not include the service's own "
                f"object store at {own.url}: it holds keys and the files of all accounts."
            )
    calls = S3Calls(
        endpoint=settings.s3_endpoint or None,
        region=settings.s3_region or None,
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key or None,
        addressing=settings.s3_addressing,
        ca=settings.s3_ca or None,
        timeout_s=settings.store_timeout_s,
        connections=_CONNECTIONS,
    )
    return S3Buckets(inputs=inputs, outputs=outputs, calls=calls)


def _own(settings: Settings) -> str:
    """Our own store, where it is a bucket."""
    return settings.store_url if settings.store_url.startswith("s3://") else ""


@contextmanager
def _refused(places: BucketAllowlist) -> Iterator[None]:
    """What the server says of an address, to the caller who named it."""
    try:
        yield
    except (ObjectMissing, ConfigurationError):
        refuse(
            places.field,
            "does not exist, or the service's credentials give no access to it; a prefix ends "
            "in /, and wildcards are not supported. Check the "
            "URL, or ask the operator",
        )


def _where(place: BucketLocation) -> dict[str, str]:
    return {"Bucket": place.bucket, "Key": place.key}


def _bare(etag: str) -> str:
    """An ETag as every answer has it: some servers leave the quotes away in listings."""
    return etag.strip('"')
