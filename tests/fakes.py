"""In-memory ports for tests: small, true to `shared.ports`, with a switch to be away."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

from shared.adapters.names import check_name
from shared.errors import (
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)
from shared.ports import StoredObject


class FakeStore:
    """`ObjectStore` in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.away = False
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

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.get(name).data)

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
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

    def _check(self, name: str = "any") -> None:
        check_name(name)
        if self.away:
            raise StoreUnavailable("the object store is away")


class FakeReplies:
    """`Replies` in a dict."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        with self._changed:
            self._answers.update(answers)
            self._changed.notify_all()

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: reply_to in self._answers, timeout_s)
            return self._answers.pop(reply_to, None)


class FakeDoorbell:
    """`Doorbell` that calls whoever answers it, in the thread of the ringer."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        self._answer = answer

    def ring(self, queue: str) -> None:
        self._answer(queue)
