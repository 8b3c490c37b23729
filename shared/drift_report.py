"""The drift of one version over a window, and on each of its days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from shared.drift import DriftMeasures, drift
from shared.observation import Observation, merged
from shared.observation_store import ObservationStore
from shared.types import ClassifierVersion


@dataclass(frozen=True, kw_only=True)
class DayDrift:
    """A day (UTC) of the window. `drift` is None without a reference."""

    day: date
    observed: Observation
    drift: DriftMeasures | None


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """The drift of a version.

    Attributes:
        start: The first hour of the window.
        end: Its end.
        reference: What the version was trained and judged on; None where that is not known.
        observed: What it has classified in the window.
        drift: The measures; None without a reference or without items.
        days: The days with items, oldest first.
    """

    start: datetime
    end: datetime
    reference: Observation | None
    observed: Observation
    drift: DriftMeasures | None
    days: tuple[DayDrift, ...]

    @property
    def drifted(self) -> bool:
        """Whether any measure of the window is beyond its threshold."""
        return self.drift is not None and self.drift.drifted


def drift_report(
    store: ObservationStore, version: ClassifierVersion, *, start: datetime, end: datetime
) -> DriftReport:
    """The drift of a version from the hour of `start` to `end`.

    Raises:
        Unavailable: The object store is away.
    """
    found = store.reference(version)
    reference = None if found is None else found.whole
    against = reference or Observation()
    days = [
        DayDrift(day=day, observed=observed, drift=drift(against, observed))
        for day, observed in store.days(version, start, end)
    ]
    observed = merged(each.observed for each in days)
    return DriftReport(
        start=start.replace(minute=0, second=0, microsecond=0),
        end=end,
        reference=reference,
        observed=observed,
        drift=drift(against, observed),
        days=tuple(days),
    )
