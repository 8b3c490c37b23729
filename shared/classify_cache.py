"""The result cache of classify requests: known items are answered without a model.

Each item is looked up by itself. The others are computed, and their answers stored. If the cache
fails, the request continues without it. The API looks up synchronous calls; workers look up the
items of jobs and batches.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from shared import object_keys
from shared.cached_results import (
    CachedItem,
    decoded,
    encoded,
    keys_of,
    lookup_of,
    merged,
    without,
)
from shared.classifier_store import ClassifierStore
from shared.errors import NotFound, ObjectMissing, PreconditionFailed, Unavailable
from shared.ports import ObjectStore
from shared.result_cache import ResultCache
from shared.telemetry import Log
from shared.types import CacheLookup, ClassifyRequest, ClassifyResult, Question

log = Log("cache")

_PAUSE_S = 1.0  # without lookups after one that failed
_MAX_PUT_BYTES = 256 * 2**10  # of one put: Redis serves nothing else meanwhile
_VERSIONS = 256  # of classifiers whose labels a process remembers


class ClassifyCache:
    """Looks up requests; safe for any thread.

    Args:
        entries: the entries; None: there is no cache.
        store: has the secret of the keys, and the labels of classifiers.
        ttl_s: the time to live of the entries of an account.
    """

    def __init__(
        self, entries: ResultCache | None, store: ObjectStore, *, ttl_s: Callable[[str], float]
    ) -> None:
        self._entries = entries
        self._store = store
        self._ttl_s = ttl_s
        self._known_secret: bytes | None = None
        self._paused_until = float("-inf")
        # Versions never change, and a hit must not read the store.
        self._labels = lru_cache(_VERSIONS)(ClassifierStore(store=store).labels)

    def look(
        self, request: ClassifyRequest, *, account: str, revision: str | None, job: str = ""
    ) -> PartialResult:
        """What the cache has of a request; nothing if the request does not use it.

        Args:
            request: within the limits.
            account: the caller's.
            revision: the model's; None: not known, so that nothing is found.
            job: its own entries do not count; empty for a synchronous call.
        """
        nothing = PartialResult(cache=self, request=request, account=account, job=job)
        if not request.cache or self._entries is None or time.monotonic() < self._paused_until:
            return nothing
        try:
            keys = self._keys(request, account, revision or "")
            if revision is None:
                return PartialResult(
                    cache=self, request=request, account=account, lookup=lookup_of(keys, {})
                )
            entries = self._entries.get(account, tuple(dict.fromkeys(keys.values())))
            questions = self._questions(request) if entries else ()
        except NotFound:
            return nothing  # the worker says so
        except Unavailable as exc:
            self._pause(exc)
            return nothing
        items: dict[int, CachedItem] = {}
        ages_s: dict[int, float] = {}
        for index, key in keys.items():
            if key not in entries:
                continue
            item = decoded(entries[key].data, questions, job=job)
            if item is not None:
                items[index] = item
                ages_s[index] = entries[key].age_s
        labels = questions[0].labels if questions and request.classifier is not None else None
        return PartialResult(
            cache=self,
            request=request,
            account=account,
            job=job,
            items=items,
            labels=labels,
            lookup=lookup_of(keys, ages_s),
        )

    def keep(
        self, request: ClassifyRequest, computed: ClassifyResult, *, account: str, job: str = ""
    ) -> None:
        """Keep the answers of the computed items, under the revision that computed them."""
        if self._entries is None or not computed.revision:
            return  # a worker of an earlier release names no revision
        questions = request.questions
        if computed.labels is not None:
            questions = (Question(labels=computed.labels),)
        entries: dict[bytes, bytes] = {}
        size_bytes = 0
        try:
            ttl_s = self._ttl_s(account)
            for index, key in self._keys(request, account, computed.revision).items():
                data = encoded(computed, index, questions, job=job)
                if data is None or len(data) > _MAX_PUT_BYTES:
                    continue
                if size_bytes + len(data) > _MAX_PUT_BYTES:
                    self._entries.put(account, entries, ttl_s=ttl_s)
                    entries, size_bytes = {}, 0
                entries[key] = data
                size_bytes += len(data)
            self._entries.put(account, entries, ttl_s=ttl_s)
        except Unavailable as exc:
            self._pause(exc)

    def _keys(self, request: ClassifyRequest, account: str, revision: str) -> dict[int, bytes]:
        return keys_of(request, secret=self._secret(), account=account, revision=revision)

    def _questions(self, request: ClassifyRequest) -> tuple[Question, ...]:
        """What the items are asked; the labels of a classifier are those of its version.

        Raises:
            NotFound: The version was deleted.
            Unavailable: The store is away.
        """
        if request.classifier is None:
            return request.questions
        return (Question(labels=self._labels(request.classifier)),)

    def _secret(self) -> bytes:
        """The secret of all processes of the service, which the first one makes.

        Raises:
            Unavailable: The store is away.
        """
        if self._known_secret is None:
            name = object_keys.RESULT_CACHE_SECRET
            try:
                self._known_secret = self._store.get(name).data
            except ObjectMissing:
                with suppress(PreconditionFailed):
                    self._store.put(name, secrets.token_bytes(32), if_absent=True)
                self._known_secret = self._store.get(name).data
        return self._known_secret

    def _pause(self, error: Unavailable) -> None:
        """Go on without the cache for a moment, so that not every request waits for a timeout."""
        self._paused_until = time.monotonic() + _PAUSE_S
        log.warning("cache.unavailable", reason=error.detail)


@dataclass(frozen=True, kw_only=True)
class PartialResult:
    """What the cache had of a request: its `items` by index. Without a `lookup`, it was not used.

    `labels`: those of the classifier, if the request names one and an item was found.
    """

    cache: ClassifyCache
    request: ClassifyRequest
    account: str
    job: str = ""
    items: Mapping[int, CachedItem] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    lookup: CacheLookup | None = None

    @property
    def rest(self) -> ClassifyRequest | None:
        """The request for the items that must be computed; None if there are none."""
        if not self.items:
            return self.request
        if len(self.items) == len(self.request.items):
            return None
        return without(self.request, self.items)

    def complete(self, computed: ClassifyResult | None) -> ClassifyResult:
        """The result of the whole request; the computed answers are kept.

        Args:
            computed: the result of `rest`; None if that is None.
        """
        if computed is not None:
            if self.lookup is None:
                return computed
            rest = without(self.request, self.items)
            self.cache.keep(rest, computed, account=self.account, job=self.job)
        whole = merged(self.request, computed, self.items, labels=self.labels)
        return whole.model_copy(update={"cache": self.lookup})
