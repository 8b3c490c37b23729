"""The last use of each key: in memory, and written to the store at most once a minute per key.

It lets operators revoke unused keys, so a minute is exact enough. One thread writes: a use never
delays a call, and never makes it fail. A killed process loses the uses of the last minute. The time
never goes back: of several processes, the latest use wins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from shared import object_keys, service_clock
from shared.errors import ObjectMissing, PigeonholeError, Unavailable
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.telemetry import Log
from shared.types import Value

log = Log("key_uses")

WRITE_EVERY_S = 60.0
_LOOK_EVERY_S = 5.0
_MAX_KEYS = 10_000  # known at once; one that is forgotten is written again at its next use
_STOP_S = 5.0  # longest that the end of the process waits for the last writes


class KeyUse(Value):
    """The latest use of a key."""

    at: datetime


def last_used(store: ObjectStore, digest: str) -> datetime | None:
    """When the key with this digest was last used, right to about a minute; None: never."""
    try:
        return decode(KeyUse, store.get(object_keys.key_use(digest)).data).at
    except ObjectMissing:
        return None


class KeyUses:
    """The uses that one process sees. `start` and `stop` belong to who made it."""

    def __init__(
        self, store: ObjectStore, *, clock: Callable[[], float] = service_clock.now
    ) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}  # by digest: when its use was last written
        self._waiting: dict[str, float] = {}  # by digest: the use that is to be written
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write from now on."""
        self._thread = threading.Thread(target=self._run, name="key uses", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, within a few seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def note(self, digest: str) -> None:
        """The key with this digest is used now."""
        now = self._clock()
        if digest in self._waiting or len(self._waiting) < _MAX_KEYS:
            self._waiting[digest] = now  # one step of a dict: no lock is needed for it

    def flush(self, *, all_of_them: bool = False) -> None:
        """Write the uses of keys that were not written for a minute, or of all."""
        now = self._clock()
        with self._lock:
            due = [
                digest
                for digest in list(self._waiting)
                if all_of_them or not 0 <= now - self._written.get(digest, 0.0) < WRITE_EVERY_S
            ]
            for digest in due:
                at = self._waiting.pop(digest)
                try:
                    self._write(digest, at)
                except Unavailable as exc:
                    self._waiting.setdefault(digest, at)
                    log.warning("key_uses.delayed", reason=exc.detail, keys=len(due))
                    return
                except PigeonholeError as exc:
                    log.warning("key_uses.lost", reason=exc.detail)
                if len(self._written) >= _MAX_KEYS:
                    self._written.clear()
                self._written[digest] = now

    def _write(self, digest: str, at: float) -> None:
        """Write one use, unless another process has written one of the same minute.

        Raises:
            Unavailable: The store is away.
        """
        used_at = datetime.fromtimestamp(at, UTC)
        known = None
        with suppress(PigeonholeError):
            known = last_used(self._store, digest)
        if known is None or (used_at - known).total_seconds() >= WRITE_EVERY_S:
            self._store.put(object_keys.key_use(digest), encode(KeyUse(at=used_at)))

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            self.flush()
        self.flush(all_of_them=True)
