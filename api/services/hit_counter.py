"""Counts the requests of each classifier: in memory, and added to the object store.

One thread writes the counts every few seconds and when the process ends. A killed process loses the
counts of the last seconds. The counts never delay a call, and never make it fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from shared import object_keys, service_clock
from shared.errors import ObjectMissing, PigeonholeError, PreconditionFailed, Unavailable
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.telemetry import Log
from shared.types import Value

log = Log("usage")

_EVERY_S = 10.0
_MAX_CLASSIFIERS = 10_000  # counted between two rounds; calls to further ones go uncounted
_ATTEMPTS = 10  # of an addition that other processes are always faster than
_STOP_S = 5.0  # longest that the end of the process waits for the last round

_Key = tuple[str, str]  # the owner's account and the classifier's id


class HitCount(Value):
    """How often a classifier was asked, by whomever, and when last."""

    number: int = 0
    at: datetime | None = None


def used(store: ObjectStore, account: str, classifier_id: str) -> HitCount:
    """What is known of a classifier's use; up to some seconds old."""
    try:
        return decode(HitCount, store.get(object_keys.used(account, classifier_id)).data)
    except ObjectMissing:
        return HitCount()


class HitCounter:
    """The counts of one process. `start` and `stop` belong to who made it."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._store = store
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[_Key, HitCount] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Carry the counts over from now on."""
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Carry over what is left, within a few seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def count(self, account: str, classifier_id: str) -> None:
        """One call to a classifier of the account."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        self._add({(account, classifier_id): HitCount(number=1, at=now)})

    def flush(self) -> None:
        """Add what was counted to the store; while that is away, keep it for the next time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        while counts:
            key, more = counts.popitem()
            try:
                self._carry(key, more)
            except Unavailable as exc:
                log.warning("usage.delayed", reason=exc.detail, classifiers=len(counts) + 1)
                self._add({**counts, key: more})
                return
            except PigeonholeError as exc:
                log.warning("usage.lost", reason=exc.detail, classifier_id=key[1])

    def _add(self, counts: dict[_Key, HitCount]) -> None:
        with self._lock:
            for key, more in counts.items():
                if key in self._counts or len(self._counts) < _MAX_CLASSIFIERS:
                    self._counts[key] = _sum(self._counts.get(key, HitCount()), more)

    def _carry(self, key: _Key, more: HitCount) -> None:
        """Add to one object, by compare-and-set; nothing if the classifier has gone.

        Raises:
            Unavailable: The store is away.
            PreconditionFailed: Others were always faster.
        """
        name = object_keys.used(*key)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                found = self._store.get(name)
            except ObjectMissing:
                found = None
            try:
                if found is not None:
                    total = _sum(decode(HitCount, found.data), more)
                    self._store.put(name, encode(total), if_match=found.etag)
                elif self._exists(key):
                    self._store.put(name, encode(more), if_absent=True)
                return
            except ObjectMissing:
                return  # it was deleted between the two
            except PreconditionFailed:
                if attempt == _ATTEMPTS:
                    raise

    def _exists(self, key: _Key) -> bool:
        try:
            self._store.get(object_keys.classifier(*key))
        except ObjectMissing:
            return False
        return True

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.flush()
        self.flush()


def _sum(one: HitCount, other: HitCount) -> HitCount:
    times = [used.at for used in (one, other) if used.at is not None]
    return HitCount(number=one.number + other.number, at=max(times, default=None))
