"""In-memory ports for tests: small, true to `shared.ports`, with a switch to be away."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, BinaryIO

from shared import ids, media_types
from shared.adapters.bucket_allowlist import BucketAllowlist, BucketLocation
from shared.adapters.object_key_rules import check_name
from shared.errors import (
    BrokerUnavailable,
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)
from shared.ports import BucketObject, StoredObject
from shared.rate_limits import RateDemand, RateState, Settlement
from shared.result_cache import CachedEntry
from shared.validation import refuse


class FakeStore:
    """`ObjectStore` in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.media_types: dict[str, str] = {}
        self.away = False
        self.presigns = False
        self._lock = threading.Lock()
        self._writes = 0

    def probe(self) -> None:
        self._check()

    def get(self, name: str) -> StoredObject:
        self._check(name)
        try:
            return self.objects[name]
        except KeyError:
            raise ObjectMissing(f"no object {name}") from None

    def open(self, name: str, *, start: int = 0, end: int | None = None) -> BinaryIO:
        return io.BytesIO(self.get(name).data[start:end])

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        media_type: str | None = None,
    ) -> str:
        self._check(name)
        if not isinstance(data, bytes):
            data = b"".join(iter(partial(data.read, 65536), b""))
        with self._lock:
            found = self.objects.get(name)
            if (if_absent and found) or (if_match and (not found or found.etag != if_match)):
                raise PreconditionFailed(f"{name} was written by another")
            self._writes += 1
            self.objects[name] = StoredObject(data=data, etag=str(self._writes))
            self.media_types[name] = media_type or media_types.of_object(name)
            return str(self._writes)

    def delete(self, name: str) -> None:
        self._check(name)
        self.objects.pop(name, None)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        self._check()
        yield from (n for n in sorted(self.objects) if n.startswith(prefix) and n > after)

    def children(self, prefix: str, *, after: str = "") -> Iterator[str]:
        segments = {n.removeprefix(prefix).partition("/")[0] for n in self.list(prefix)}
        yield from (s for s in sorted(segments) if s > after)

    def now(self) -> float:
        self._check()
        return time.time()

    def presign_put(self, name: str, *, expires_s: int) -> str | None:
        self._check(name)
        return f"https://store.test/{name}?for={expires_s}" if self.presigns else None

    def presign_post(
        self, name: str, *, expires_s: int, max_bytes: int
    ) -> tuple[str, dict[str, str]] | None:
        self._check(name)
        fields = {"key": name, "for": str(expires_s), "most": str(max_bytes)}
        return ("https://store.test/", fields) if self.presigns else None

    def _check(self, name: str = "any") -> None:
        check_name(name)
        if self.away:
            raise StoreUnavailable("the object store is away")


class FakeBuckets:
    """`Buckets` in a dict by URL; reads from `s3://inbox/rows/`, writes to `s3://outbox/results/`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.media_types: dict[str, str] = {}
        self.away = False
        self._inputs = BucketAllowlist.of(
            "s3://inbox/rows/", field="input_url", setting="PIGEONHOLE_S3_INPUTS"
        )
        self._outputs = BucketAllowlist.of(
            "s3://outbox/results/", field="output_url", setting="PIGEONHOLE_S3_OUTPUTS"
        )

    def check(self, url: str, *, write: bool) -> None:
        (self._outputs if write else self._inputs).find(url)

    def find(self, url: str) -> BucketObject:
        self._object(self._inputs, url)
        if url not in self.objects:
            refuse("input_url", "does not exist")
        return self._look(url)

    def open(self, url: str, *, etag: str = "") -> BinaryIO:
        if self.find(url).etag != etag != "":
            refuse("input_url", "was changed after it was first read; start again")
        return io.BufferedReader(Stream(self.objects[url]))

    def list(self, url: str) -> Iterator[BucketObject]:
        prefix = self._inputs.find(url).url
        self._check()
        found = sorted(each for each in self.objects if each.startswith(prefix))
        yield from (self._look(each) for each in found if not each.endswith("/"))

    def put(self, url: str, stream: BinaryIO, *, media_type: str | None = None) -> None:
        self._object(self._outputs, url)
        data = b"".join(iter(partial(stream.read, 65536), b""))
        if url.startswith("s3://outbox/results/closed/"):
            refuse("output_url", "does not exist")
        self.objects[url] = data
        self.media_types[url] = media_type or media_types.of_file(url)

    def _look(self, url: str) -> BucketObject:
        data = self.objects[url]
        return BucketObject(url=url, bytes=len(data), etag=blake2b(data).hexdigest())

    def _object(self, places: BucketAllowlist, url: str) -> BucketLocation:
        place = places.find(url)
        if url.endswith("/"):
            refuse(places.field, "must name one object, not a prefix")
        self._check()
        return place

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the bucket's server is away")


class Stream(io.RawIOBase):
    """Bytes that can only be read forward, as those of a server."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


class FakeReplies:
    """`Replies` in a dict."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        with self._changed:
            self._answers.update(answers)
            self._changed.notify_all()

    @contextmanager
    def expected(self) -> Iterator[str]:
        yield ids.token()

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: reply_to in self._answers, timeout_s)
            return self._answers.pop(reply_to, None)


class FakeResultCache:
    """`ResultCache` in a dict, without a bound; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = False
        self.entries: dict[tuple[str, bytes], tuple[bytes, float, float]] = {}
        self._clock = clock

    def get(self, account: str, keys: Sequence[bytes]) -> dict[bytes, CachedEntry]:
        self._check()
        now = self._clock()
        found = {key: self.entries[account, key] for key in keys if (account, key) in self.entries}
        return {
            key: CachedEntry(data=data, age_s=now - written, left_s=expires - now)
            for key, (data, written, expires) in found.items()
            if now < expires
        }

    def put(self, account: str, entries: Mapping[bytes, bytes], *, ttl_s: float) -> None:
        self._check()
        now = self._clock()
        for key, data in entries.items():
            self.entries[account, key] = (data, now, now + ttl_s)

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("Redis is away")


class FakeDoorbell:
    """`Doorbell` that calls whoever answers it, in the thread of the ringer."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        self._answer = answer

    def ring(self, queue: str) -> None:
        self._answer(queue)


class UnusedRateLimiter:
    """A limiter for accounts without limits: they cost no round trip, so a use of it is a fault."""

    def admit(self, demand: RateDemand, settlements: Sequence[Settlement] = ()) -> RateState:
        raise AssertionError("a call without limits must not ask the limiter")

    def settle(self, settlements: Sequence[Settlement]) -> None:
        raise AssertionError("a call without limits must not be settled")

    def settle_job(self, job_id: str, tokens: int) -> None:
        raise AssertionError("a job without limits must not be settled")


class FakeRunningUsage:
    """`RunningUsage` in a dict."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], int] = {}

    def add(self, account: str, job_id: str, tokens: int) -> None:
        self.jobs[account, job_id] = self.jobs.get((account, job_id), 0) + tokens

    def replace(self, account: str, job_id: str, tokens: int) -> None:
        self.jobs[account, job_id] = tokens

    def total(self, account: str) -> int:
        return sum(tokens for (owner, _), tokens in self.jobs.items() if owner == account)

    def forget(self, account: str, job_id: str) -> None:
        self.jobs.pop((account, job_id), None)
