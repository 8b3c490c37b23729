"""The last drift that was detected of a classifier, on the object store.

It is stored before anything follows from it, and again once that is done: two keepers detect a
drift once, and one that is killed in between leaves the rest to the next check.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared import observation_keys
from shared.drift import DriftMeasures
from shared.errors import ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.types import ClassifierVersion, Value

QUIET = timedelta(days=1)
"""The same version is not detected again for this time."""


class MeasureFound(Value):
    """A measure when drift was detected."""

    value: float
    threshold: float
    drifted: bool


class Detection(Value):
    """A drift of a version. `announced`: its run was started and its webhooks were told."""

    schema_number: int = 1
    version: ClassifierVersion
    at: datetime
    items: int
    measures: dict[str, MeasureFound]
    announced: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """The data of the webhook event."""
        return {
            "object": "drift",
            "classifier_id": self.version.classifier_id,
            "version": self.version.version,
            "items": self.items,
            "measures": {name: each.model_dump() for name, each in self.measures.items()},
        }

    def covers(self, version: ClassifierVersion, now: datetime) -> bool:
        """Whether a drift of the version is this one: the reference is the same, and it is new."""
        return self.version.file == version.file and now - self.at < QUIET


def detection_of(
    version: ClassifierVersion, found: DriftMeasures, items: int, at: datetime
) -> Detection:
    """A drift that was found now."""
    return Detection(
        version=version,
        at=at.replace(microsecond=at.microsecond // 1000 * 1000),  # ids are of milliseconds
        items=items,
        measures={
            name: MeasureFound(value=each.value, threshold=each.threshold, drifted=each.drifted)
            for name, each in found.by_name.items()
        },
    )


@dataclass(frozen=True, kw_only=True)
class DetectionStore:
    """The last detection of each classifier."""

    store: ObjectStore

    def load(self, account: str, classifier_id: str) -> tuple[Detection | None, str]:
        """The last detection and its ETag; None and "" if there was none."""
        try:
            found = self.store.get(observation_keys.detected(account, classifier_id))
        except ObjectMissing:
            return None, ""
        return decode(Detection, found.data), found.etag

    def replace(self, detection: Detection, etag: str) -> str:
        """Store a detection unless another keeper was faster; its ETag, "" if one was."""
        version = detection.version
        name = observation_keys.detected(version.account, version.classifier_id)
        with suppress(PreconditionFailed, ObjectMissing):
            if etag:
                return self.store.put(name, encode(detection), if_match=etag)
            return self.store.put(name, encode(detection), if_absent=True)
        return ""
