"""Counts what the versions of classifiers classify, for `GET /v1/classifiers/{ref}/drift`.

Adds up in memory, by version and hour, and writes the sums to the object store every few seconds
and when the process ends: no text is kept, no call waits, and none fails by it. A killed process
loses the seconds since its last write. A part that is run again is counted again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from shared import ids, service_clock
from shared.classifier_store import ClassifierStore
from shared.errors import NotFound, PigeonholeError, Unavailable
from shared.observation import DayObservations, merged
from shared.observation_store import ObservationStore
from shared.ports import ObjectStore
from shared.telemetry import Log
from shared.types import ClassifierVersion
from workers.core.observation_sums import Floats, ObservationSums

log = Log("observations")

_EVERY_S = 10.0
_MAX_DAYS = 500  # in memory: 24 hours of 5 labels at D = 384 take 76 KB
_WRITERS = 16  # with 10 ms a call, 500 versions take 1.4 s; one after the other, 22 s
_STOP_S = 5.0  # longest time that the end of the process waits for the last write

_Key = tuple[str, str, datetime]  # classifier, file of the version, day


@dataclass(eq=False)
class _Day:
    """The sums of one version on one day; `changed` is not written.

    `earlier` is what the process had written of the day before it took these sums up; None: not
    read yet.
    """

    version: ClassifierVersion
    at: datetime
    labels: tuple[str, ...]
    hours: dict[int, ObservationSums] = field(default_factory=dict)
    earlier: DayObservations | None = None
    changed: bool = False
    marked: int = -1  # the last hour in which the classifier was added to the index

    def counted(self) -> DayObservations:
        hours = {} if self.earlier is None else dict(self.earlier.hours)
        for hour, sums in self.hours.items():
            observation = sums.observation(self.labels)
            hours[hour] = merged((hours[hour], observation)) if hour in hours else observation
        return DayObservations(hours=hours)


class ObservationCounter:
    """The counts of one process. `start` and `stop` belong to its owner."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        every_s: float = _EVERY_S,
        max_days: int = _MAX_DAYS,
        clock: Callable[[], float] = service_clock.now,
    ) -> None:
        self._store = ObservationStore(store=store)
        self._records = ClassifierStore(store=store, clock=clock)
        self._every_s = every_s
        self._max_days = max_days
        self._clock = clock
        self._process = ids.token()  # in the names of its objects
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._days: dict[_Key, _Day] = {}  # the one that was used last is at the end
        self._stopping = threading.Event()
        self._given_up = threading.Event()  # the end of the process does not wait for more
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write the counts from now on."""
        self._thread = threading.Thread(target=self._run, name="observations", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, within a few seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._given_up.set()

    def add(
        self, version: ClassifierVersion, labels: Sequence[str], x: Floats, scores: Floats
    ) -> None:
        """Count N items of a version with L labels.

        Args:
            version: The version; without `observe`, nothing is counted.
            labels: (L,).
            x: (N, D) embeddings.
            scores: (N, L) calibrated probabilities.
        """
        if not version.observe or not len(x):
            return
        now = datetime.fromtimestamp(self._clock(), UTC)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        key = (version.classifier_id, version.file, day)
        with self._lock:
            of = self._days.pop(key, None) or _Day(version=version, at=day, labels=tuple(labels))
            self._days[key] = of
            sums = of.hours.get(now.hour)
            if sums is None:
                sums = of.hours[now.hour] = ObservationSums(len(labels), x.shape[1])
            sums.add(x, scores)
            of.changed = True

    def flush(self) -> None:
        """Write what has changed; while the store is away, it is kept for the next time."""
        with self._flushing:
            with self._lock:
                changed = [each for each in self._days.values() if each.changed]
                for of in changed:
                    of.changed = False
            if changed:
                self._write(changed)
            self._forget()

    def _write(self, changed: list[_Day]) -> None:
        """Write the sums of versions, and then what concerns their classifiers."""
        outages: list[Unavailable] = []
        classifiers: dict[str, list[_Day]] = {}
        for of in changed:
            classifiers.setdefault(of.version.classifier_id, []).append(of)
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="observations") as writers:
            put = partial(self._attempt, self._put, outages)
            settle = partial(self._attempt, self._settle, outages)
            deque(writers.map(put, [[of] for of in changed]), 0)
            deque(writers.map(settle, classifiers.values()), 0)
        if outages:
            log.warning("observations.delayed", reason=outages[0].detail, versions=len(changed))

    def _attempt(
        self,
        action: Callable[[list[_Day]], None],
        outages: list[Unavailable],
        days: list[_Day],
    ) -> None:
        """Do it unless the store is away; then the sums count as changed."""
        if not outages and not self._given_up.is_set():
            try:
                action(days)
                return
            except Unavailable as exc:
                outages.append(exc)
            except PigeonholeError as exc:
                log.warning("observations.lost", reason=exc.detail)
                return
            except Exception as exc:  # noqa: BLE001  one version must not end it for all
                log.error("observations.crashed", exc=exc)
                return
        with self._lock:
            for of in days:
                of.changed = True

    def _put(self, days: list[_Day]) -> None:
        for of in days:
            if of.earlier is None:
                of.earlier = self._store.get(of.version, of.at, self._process)
            with self._lock:
                counted = of.counted()
            self._store.put(of.version, of.at, self._process, counted)

    def _settle(self, days: list[_Day]) -> None:
        """Add a classifier to the index; nothing stays of its versions that are gone."""
        version = days[0].version
        with self._lock:
            hours = [(of, max(of.hours)) for of in days]
        new = [(of, hour) for of, hour in hours if of.marked < hour]
        for at in {of.at.replace(hour=hour) for of, hour in new}:
            self._store.mark_in_use(version, at)
        for of, hour in new:
            of.marked = hour
        kept = self._kept(version)
        for of in days:
            if of.version.file not in kept:
                self._store.delete(of.version, of.at, self._process)

    def _kept(self, version: ClassifierVersion) -> Collection[str]:
        """The files of the versions of its classifier."""
        try:
            record, _ = self._records.load(version.account, version.classifier_id)
        except NotFound:
            return ()
        return record.files()

    def _forget(self) -> None:
        """Free what is written: days that are over, and beyond the maximum those unused longest."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        with self._lock:
            written = [key for key, of in self._days.items() if not of.changed]
            over = [key for key in written if key[2].date() < today]
            for key in over or written[: max(0, len(self._days) - self._max_days)]:
                del self._days[key]

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.flush()
        self.flush()
