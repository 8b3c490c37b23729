"""Trained classifiers of the store: their scorers kept while they are used, versions committed.

Classifying needs a scorer of some KB, training the whole file, which is read when it is needed: a
cache of files would hold 64 times fewer classifiers in the same memory.

The weights of a version never change, so what was read once is right for ever, on every worker; the
front end says with each request which version is meant. A version exists from the moment its record
moved, by compare-and-set on the store: of two trainers one is told to learn on what the other left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared import ids, object_keys, observation_keys, service_clock
from shared.byte_cache import OVERHEAD_BYTES, ByteCache
from shared.classifier_record import Classifier, MadeBy, Version, learnt_after, with_version
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict, NotFound, ObjectMissing
from shared.messages import encode
from shared.observation import Reference
from shared.observation_store import ObservationStore
from shared.ports import ObjectStore
from shared.relabelling import Changes
from shared.training_results import VersionReport
from shared.types import ClassifierVersion, NewClassifier
from workers.classifier_file import TrainedClassifier, dumps, loads
from workers.core.classifier_scorer import ClassifierScorer
from workers.futures import done

_CACHE_BYTES = 64 * 2**20  # of scorers: 3,600 of 5 labels at D = 384
_READERS = 4
_TURNS = 64


@dataclass(frozen=True, kw_only=True)
class DraftVersion:
    """A version that may become the next one. `samples`: examples in it, over all calls. `base`:
    the version on which it was trained; None: the latest. `reference`: what its drift is measured
    against; None: it has none.
    """

    account: str
    classifier_id: str
    job_id: str
    made_by: MadeBy
    trained: TrainedClassifier
    report: VersionReport
    samples: int
    reference: Reference | None = None
    base: Version | None = None
    candidate: bool = False
    relabelled: Changes = field(default_factory=dict)


class ClassifierCache:
    """The classifiers of all accounts, from the store; safe for any thread."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        versions_kept: int,
        cache_bytes: int = _CACHE_BYTES,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self.store = store
        self.records = ClassifierStore(store=store, clock=clock)
        self.observations = ObservationStore(store=store)
        self._versions_kept = versions_kept
        self._clock = clock
        self._kept = ByteCache[tuple[str, str], ClassifierScorer](
            "classifiers", max_bytes=cache_bytes
        )
        self._reading: dict[tuple[str, str], Future[ClassifierScorer]] = {}
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="weights")
        self._turns = [threading.Lock() for _ in range(_TURNS)]

    def of(self, weights: ClassifierVersion) -> Future[ClassifierScorer]:
        """The scorer of a version: kept here, or on its way from the store.

        The future raises NotFound where the version is no longer kept, Unavailable where the store
        is away. Reading never happens in the caller's thread, which claims work for others.
        """
        key = (weights.classifier_id, weights.file)
        if (kept := self._kept.get(key)) is not None:
            return done(kept)
        with self._lock:
            if key not in self._reading:
                self._reading[key] = self._readers.submit(self._read, key, weights)
            return self._reading[key]

    def load(self, weights: ClassifierVersion) -> TrainedClassifier:
        """All that a version has learnt, from the store, in the caller's thread.

        Raises:
            NotFound: The version is no longer kept.
            Unavailable: The store is away.
        """
        name = object_keys.weights(weights.account, weights.classifier_id, weights.file)
        try:
            return loads(self.store.get(name).data)
        except ObjectMissing:
            raise NotFound(f"version {weights.version} is no longer kept") from None

    @contextmanager
    def turn(self, classifier_id: str) -> Iterator[None]:
        """Let one trainer of this process go after the other: it saves work, nothing more."""
        with self._turns[hash(classifier_id) % _TURNS]:
            yield

    def commit(self, draft: DraftVersion, before: Classifier, etag: str) -> Classifier | None:
        """Make the draft the version after `before`; None if another process was faster.

        Raises:
            NotFound: The classifier was deleted meanwhile.
        """
        version = self._version(draft, before.next_number, learnt=())
        rebuilt = draft.made_by == "rebuild"
        base = draft.base or before.latest
        learnt = base.learnt if rebuilt else learnt_after(before, version.number, base=base)
        version = version.model_copy(update={"learnt": learnt})
        after = with_version(
            before,
            version,
            labels=draft.trained.labels,
            keep=self._versions_kept,
            job_id=draft.job_id,
        )
        weights = self._written(draft, version)
        if not self._moved(weights, lambda: self.records.replace(after, etag)):
            return None
        self._keep((draft.classifier_id, version.file), draft.trained.scorer)
        self.records.drop(before, after)
        return after

    def create(self, draft: DraftVersion, new: NewClassifier) -> Classifier | None:
        """Make a classifier whose first version is the draft; None if it is there already.

        Raises:
            Conflict: The account has another classifier of the name.
        """
        learnt = ((1, 1),) if draft.made_by == "train" else ()
        version = self._version(draft, 1, learnt=learnt)
        record = Classifier(
            id=draft.classifier_id,
            account=draft.account,
            name=new.name,
            description=new.description,
            access=new.access,
            keep_examples=new.keep_examples,
            closed_labels=new.closed_labels,
            labels=draft.trained.labels,
            versions=(version,),
            jobs={draft.job_id: 1},
            created_at=version.created_at,
            updated_at=version.created_at,
        )
        weights = self._written(draft, version)
        if not self._moved(weights, lambda: self.records.create(record)):
            return None
        self._keep((draft.classifier_id, version.file), draft.trained.scorer)
        return record

    def _version(
        self, draft: DraftVersion, number: int, *, learnt: tuple[tuple[int, int], ...]
    ) -> Version:
        progressive = draft.report.progressive
        return Version(
            number=number,
            # The time says how old a file is that no record names; the token makes it unique.
            file=f"{number}-{ids.job_id(int(self._clock() * 1000), 0)}-{ids.token()}",
            model=draft.trained.model,
            made_by=draft.made_by,
            created_at=datetime.fromtimestamp(self._clock(), UTC),
            samples=draft.samples,
            label_count=len(draft.trained.labels),
            accuracy=None if progressive is None else progressive.accuracy,
            learnt=learnt,
            candidate=draft.candidate,
            relabelled=dict(draft.relabelled),
        )

    def _written(self, draft: DraftVersion, version: Version) -> tuple[str, ...]:
        """Weights, report and reference on the store, under names that no record holds yet."""
        place = (draft.account, draft.classifier_id, version.file)
        names = [object_keys.weights(*place), object_keys.report(*place)]
        self.store.put(names[0], dumps(draft.trained))
        self.store.put(names[1], encode(draft.report))
        if draft.reference is not None:
            names.append(observation_keys.reference(*place))
            self.store.put(names[2], encode(draft.reference))
        return tuple(names)

    def _moved(self, names: tuple[str, ...], move: Callable[[], bool]) -> bool:
        """Move the record; what was written for it goes if it did not move.

        An outage leaves the files: whether the record moved is then unknown.
        """
        try:
            moved = move()
        except (NotFound, Conflict):
            self._discard(names)
            raise
        if not moved:
            self._discard(names)
        return moved

    def _discard(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.store.delete(name)

    def _read(self, key: tuple[str, str], weights: ClassifierVersion) -> ClassifierScorer:
        try:
            scorer = self.load(weights).scorer
        finally:
            with self._lock:
                del self._reading[key]
        self._keep(key, scorer)
        return scorer

    def _keep(self, key: tuple[str, str], scorer: ClassifierScorer) -> None:
        self._kept.put(key, scorer, size_bytes=scorer.size_bytes + OVERHEAD_BYTES)
