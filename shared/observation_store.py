"""Observations and references on the object store.

Each worker process writes objects of its own, again and again with all that it has counted on the
day: a repeated write counts nothing twice, and a killed process loses what it had not written.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from shared import observation_keys
from shared.errors import ObjectMissing
from shared.messages import decode, encode
from shared.observation import DayObservations, Observation, Reference
from shared.ports import ObjectStore
from shared.types import ClassifierVersion

RETENTION_DAYS = 90
_READERS = 8  # one after the other, a week of two workers takes 0.2 s on S3


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
        return self._read(_observations(version, day, process))[1]

    def delete(self, version: ClassifierVersion, day: datetime, process: str) -> None:
        """Delete what a process has counted of a version on a day."""
        self.store.delete(_observations(version, day, process))

    def mark_in_use(self, version: ClassifierVersion, at: datetime) -> None:
        """Add the classifier to the index of what classified in the hour."""
        self.store.put(observation_keys.in_use(version.account, version.classifier_id, at), b"")

    def hours(
        self, version: ClassifierVersion, start: datetime, end: datetime
    ) -> dict[datetime, list[Observation]]:
        """The observations of the hours from `start` (its hour included) to `end`, ascending."""
        place = (version.account, version.classifier_id, version.file)
        names = takewhile(
            lambda name: (observation_keys.day_of(name) or end) <= end,
            self.store.list(
                observation_keys.observations(*place),
                after=observation_keys.first_of(*place, start),
            ),
        )
        first = start.replace(minute=0, second=0, microsecond=0)
        found: dict[datetime, list[Observation]] = {}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="observations") as readers:
            for day, counted in readers.map(self._read, list(names)):
                for hour, observation in counted.hours.items():
                    at = day + timedelta(hours=hour)
                    if first <= at < end:
                        found.setdefault(at, []).append(observation)
        return dict(sorted(found.items()))

    def _read(self, name: str) -> tuple[datetime, DayObservations]:
        day = observation_keys.day_of(name)
        if day is None:
            return datetime.fromtimestamp(0, UTC), DayObservations()
        try:
            return day, decode(DayObservations, self.store.get(name).data)
        except ObjectMissing:  # deleted meanwhile
            return day, DayObservations()


def _reference(version: ClassifierVersion) -> str:
    return observation_keys.reference(version.account, version.classifier_id, version.file)


def _observations(version: ClassifierVersion, day: datetime, process: str) -> str:
    return observation_keys.observations_of(
        version.account, version.classifier_id, version.file, day, process
    )
