"""Observations and references on the object store.

Each worker process writes objects of its own, again and again with all that it has counted on the
day: a repeated write counts nothing twice, and a killed process loses what it had not written.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby, islice, takewhile

from shared import observation_keys
from shared.errors import ObjectMissing
from shared.messages import decode, encode
from shared.observation import DayObservations, Observation, Reference, merged
from shared.ports import ObjectStore
from shared.types import ClassifierVersion

RETENTION_DAYS = 90
_READERS = 8  # one after the other, a week of two workers takes 0.2 s on S3
_CHUNK = 4 * _READERS  # objects in memory: one of 24 hours and 1,024 dimensions has 130 KB


@dataclass(frozen=True, kw_only=True)
class ObservationStore:
    """The observations of all versions of all classifiers."""

    store: ObjectStore

    def put_reference(self, version: ClassifierVersion, reference: Reference) -> None:
        """Store the reference of a version."""
        self.store.put(_reference(version), encode(reference))

    def reference(self, version: ClassifierVersion) -> Reference | None:
        """The reference of a version; None for one that was imported, or is older than this."""
        try:
            return decode(Reference, self.store.get(_reference(version)).data)
        except ObjectMissing:
            return None

    def put(
        self, version: ClassifierVersion, day: datetime, process: str, counted: DayObservations
    ) -> None:
        """Replace what a process has counted of a version on a day."""
        self.store.put(_observations(version, day, process), encode(counted))

    def get(self, version: ClassifierVersion, day: datetime, process: str) -> DayObservations:
        """What a process has counted of a version on a day, as far as it is stored."""
        return self._read(_observations(version, day, process))

    def delete(self, version: ClassifierVersion, day: datetime, process: str) -> None:
        """Delete what a process has counted of a version on a day."""
        self.store.delete(_observations(version, day, process))

    def mark_in_use(self, version: ClassifierVersion, at: datetime) -> None:
        """Add the classifier to the index of what classified in the hour."""
        self.store.put(observation_keys.in_use(version.account, version.classifier_id, at), b"")

    def days(
        self, version: ClassifierVersion, start: datetime, end: datetime
    ) -> Iterator[tuple[date, Observation]]:
        """The sums of the days with items (UTC), oldest first, from the hour of `start` to `end`.

        Memory does not grow with the window: a day is added up while its objects are read.
        """
        first = start.replace(minute=0, second=0, microsecond=0)
        for day, objects in groupby(self._read_from(version, start, end), lambda each: each[0]):
            observed = merged(
                observation
                for _, counted in objects
                for hour, observation in counted.hours.items()
                if first <= day + timedelta(hours=hour) < end
            )
            if observed.items:
                yield day.date(), observed

    def _read_from(
        self, version: ClassifierVersion, start: datetime, end: datetime
    ) -> Iterator[tuple[datetime, DayObservations]]:
        """What each process has counted on the days from `start` to `end`, by day."""
        place = (version.account, version.classifier_id, version.file)
        listed = self.store.list(
            observation_keys.observations(*place),
            after=observation_keys.first_of(*place, start),
        )
        known = ((day, name) for name in listed if (day := observation_keys.day_of(name)))
        found = takewhile(lambda each: each[0] <= end, known)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="observations") as readers:
            while chunk := list(islice(found, _CHUNK)):
                yield from zip(
                    (day for day, _ in chunk),
                    readers.map(self._read, (name for _, name in chunk)),
                    strict=True,
                )

    def _read(self, name: str) -> DayObservations:
        try:
            return decode(DayObservations, self.store.get(name).data)
        except ObjectMissing:  # deleted meanwhile
            return DayObservations()


def _reference(version: ClassifierVersion) -> str:
    return observation_keys.reference(version.account, version.classifier_id, version.file)


def _observations(version: ClassifierVersion, day: datetime, process: str) -> str:
    return observation_keys.observations_of(
        version.account, version.classifier_id, version.file, day, process
    )
