"""Object keys of observations, beside those of `shared.object_keys`. No I/O.

classifiers/{account}/{id}/versions/{file}.reference               what a version is compared with
classifiers/{account}/{id}/observations/{file}/{day}/{process}.json   what a process has counted
classifiers/{account}/{id}/drift.json                              the last drift that was detected
observed/{hour}.{account}.{id}                                     index of what is in use, by hour
"""

from __future__ import annotations

from datetime import UTC, datetime

from shared.object_keys import classifier_prefix, versions

OBSERVED = "observed/"
_DAY, _HOUR = "%Y-%m-%d", "%Y%m%dT%H"


def reference(account: str, classifier: str, file: str) -> str:
    """The reference of one version, immutable."""
    return f"{versions(account, classifier)}{file}.reference"


def observations(account: str, classifier: str, file: str) -> str:
    """Prefix of the observations of one version; the next segments are days, oldest first."""
    return f"{classifier_prefix(account, classifier)}observations/{file}/"


def observations_of(account: str, classifier: str, file: str, at: datetime, process: str) -> str:
    """What a process has counted on the day of a time."""
    return f"{observations(account, classifier, file)}{at.strftime(_DAY)}/{process}.json"


def first_of(account: str, classifier: str, file: str, at: datetime) -> str:
    """A key before all observations of the day of a time, and after those of earlier days."""
    return f"{observations(account, classifier, file)}{at.strftime(_DAY)}"


def day_of(name: str) -> datetime | None:
    """The day in the key of an observation; None: it is no such key.

    >>> day_of("classifiers/a/c/observations/1-x/2026-11-30/p.json").isoformat()
    '2026-11-30T00:00:00+00:00'
    >>> day_of("classifiers/a/c/versions/1-x.json")
    """
    parts = name.split("/")
    if len(parts) < 3 or "observations" not in parts:
        return None
    try:
        return datetime.strptime(parts[-2], _DAY).replace(tzinfo=UTC)
    except ValueError:
        return None


def detected(account: str, classifier: str) -> str:
    """The last drift that was detected; changed by compare-and-set."""
    return f"{classifier_prefix(account, classifier)}drift.json"


def in_use(account: str, classifier: str, at: datetime) -> str:
    """Index entry of a classifier that classified in the hour of a time."""
    return f"{OBSERVED}{at.strftime(_HOUR)}.{account}.{classifier}"


def hour_of(name: str) -> tuple[datetime, str, str] | None:
    """Hour, account and classifier of an index entry; None: it is no such entry.

    >>> hour_of("observed/20261130T09.acme.cls_1")[1:]
    ('acme', 'cls_1')
    """
    try:
        hour, account, classifier = name.removeprefix(OBSERVED).split(".")
        return datetime.strptime(hour, _HOUR).replace(tzinfo=UTC), account, classifier
    except ValueError:
        return None
