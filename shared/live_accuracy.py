"""Live accuracy: how many items of feedback a version has predicted correctly. Pure.

A promotion is checked on the first `window` items of feedback on the new version. The version
before is the baseline: its accuracy on its own newest `window` items of feedback or, without
feedback, on the holdout of the run, as they are at the first check. The check ends as soon as no
further item can change its outcome, and the window is looked at once, so that chance gets one try
only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import NamedTuple

from shared.normal_form import normal_form
from shared.retraining import AutoRollback, FeedbackItem, LiveCheck

MIN_BASELINE = 20  # items of feedback on the version before; with fewer, the holdout is better


class FeedbackOutcome(NamedTuple):
    """Whether a version has predicted an item of feedback correctly."""

    version: int
    at: datetime
    digest: str  # of the id of the item
    correct: bool


class VersionDay(NamedTuple):
    """A version and a day (UTC), in the order of the live accuracy."""

    version: int
    day: date


class DailyAccuracy(NamedTuple):
    """The feedback of a day (UTC) on a version."""

    version: int
    day: date
    items: int
    correct: int


def outcome_of(item: FeedbackItem, digest: str) -> FeedbackOutcome | None:
    """The outcome of an item of feedback; None if it names no version or no prediction."""
    if item.version is None or item.predicted is None:
        return None
    correct = normal_form(item.predicted) == normal_form(item.label)
    return FeedbackOutcome(version=item.version, at=item.created_at, digest=digest, correct=correct)


def by_day(outcomes: Iterable[FeedbackOutcome]) -> Iterator[DailyAccuracy]:
    """Items and correct items by version and day, in that order; the outcomes are by version."""
    for version, group in groupby(outcomes, lambda each: each.version):
        items: Counter[date] = Counter()
        correct: Counter[date] = Counter()
        for each in group:
            items[each.at.date()] += 1
            correct[each.at.date()] += each.correct
        yield from (DailyAccuracy(version, day, items[day], correct[day]) for day in sorted(items))


class Baseline(NamedTuple):
    """The accuracy of the version before, on `items` items of feedback; 0: on the holdout."""

    accuracy: float
    items: int


def baseline_of(before: Sequence[bool], holdout_accuracy: float | None) -> Baseline | None:
    """The baseline of a check; None if there is none.

    Args:
        before: Whether the newest items of feedback on the version before are correct.
        holdout_accuracy: The accuracy of that version on the holdout of the run.

    >>> baseline_of([True] * 18 + [False] * 2, holdout_accuracy=None)
    Baseline(accuracy=0.9, items=20)
    >>> baseline_of([True] * 19, holdout_accuracy=0.8)
    Baseline(accuracy=0.8, items=0)
    """
    if len(before) >= MIN_BASELINE:
        return Baseline(sum(before) / len(before), len(before))
    return None if holdout_accuracy is None else Baseline(holdout_accuracy, 0)


def check(settings: AutoRollback, *, baseline: Baseline, after: Sequence[bool]) -> LiveCheck:
    """Compare the new version with the one before.

    Args:
        settings: The window and the greatest drop.
        baseline: The accuracy of the version before.
        after: Whether the first items of feedback on the new version are correct.

    >>> settings, baseline = AutoRollback(drop=0.05, window=100), Baseline(0.9, 100)
    >>> check(settings, baseline=baseline, after=[False] * 15).outcome
    'running'
    >>> check(settings, baseline=baseline, after=[False] * 16).outcome
    'worse'
    >>> check(settings, baseline=baseline, after=[True] * 85).outcome
    'kept'
    """
    window = settings.window
    items, correct = len(after), sum(after)
    least = (baseline.accuracy - settings.drop) * window - 1e-9  # correct items of the whole window
    kept, worse = correct >= least, correct + window - items < least
    return LiveCheck(
        metric=settings.metric,
        drop=settings.drop,
        window=window,
        baseline=baseline.accuracy,
        baseline_items=baseline.items,
        items=items,
        correct=correct,
        outcome="worse" if worse else "kept" if kept else "running",
    )
