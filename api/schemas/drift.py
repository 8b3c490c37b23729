"""Drift in the API: measures with thresholds, and days as rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.classifier_record import Classifier, Version
from shared.drift import DriftMeasures, Measure
from shared.drift_report import DayDrift, DriftReport
from shared.observation import BINS, Observation
from shared.observation_store import RETENTION_DAYS
from shared.validation import refuse

DEFAULT_WINDOW = "7d"
_WINDOW = re.compile(r"([1-9]\d{0,3})([hd])")
_DECIMALS = 6


class MeasureAnswer(BaseModel):
    """A measure of drift. The threshold grows where few items could exceed it by chance."""

    value: float
    threshold: float
    drifted: bool = Field(
        description="Whether the value is above the threshold; false with fewer than 50 items."
    )


class MeasuresAnswer(BaseModel):
    """The measures of drift."""

    labels: MeasureAnswer = Field(
        description="Population stability index (PSI) of the predicted labels."
    )
    confidence: MeasureAnswer = Field(
        description="Population stability index (PSI) of the scores of the best labels."
    )
    embedding: MeasureAnswer = Field(
        description="Distance of the mean embedding in units of its chance spread: without drift "
        "it is near 1."
    )


class ObservedItems(BaseModel):
    """Items that were counted."""

    items: int
    uncertain: float | None = Field(
        description="Share of items whose best label is less than 0.1 ahead; null without items."
    )
    labels: dict[str, int] = Field(description="Number of items by predicted label.")
    confidence: list[int] = Field(
        description=f"Number of items by the score of the best label, in {BINS} equal bins from 0 "
        "to 1."
    )


class DriftDay(BaseModel):
    """A day in UTC."""

    date: date
    items: int
    uncertain: float | None
    drifted: bool
    measures: MeasuresAnswer | None


class DriftAnswer(BaseModel):
    """How far the items that a version has classified differ from its reference."""

    object: Literal["drift"]
    classifier_id: str
    version: int
    observe: bool = Field(description="Whether the classifier counts what it classifies.")
    start: datetime = Field(description="The first hour of the window.")
    end: datetime
    drifted: bool = Field(description="Whether any measure is above its threshold.")
    measures: MeasuresAnswer | None = Field(
        description="Null without a reference, or without items."
    )
    reference: ObservedItems | None = Field(
        description="What the version was trained and judged on, each example predicted before it "
        "was learnt; null of imported versions and of those from before drift was measured."
    )
    observed: ObservedItems = Field(description="What the version has classified in the window.")
    days: list[DriftDay] = Field(description="Days with items, oldest first.")


def parse_window(text: str | None) -> timedelta:
    """The length of a window.

    Raises:
        InvalidRequest: It is no number of hours or days, or longer than observations are kept.

    >>> parse_window("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    found = _WINDOW.fullmatch(DEFAULT_WINDOW if text is None else text)
    if found is None:
        refuse("window", "must be a number of hours or days, such as 24h or 7d")
    number, unit = int(found[1]), found[2]
    window = timedelta(hours=number) if unit == "h" else timedelta(days=number)
    if window > timedelta(days=RETENTION_DAYS):
        refuse("window", f"must be at most {RETENTION_DAYS}d: counts are deleted after that")
    return window


def render_drift(record: Classifier, version: Version, report: DriftReport) -> dict[str, Any]:
    """The drift of a version."""
    return {
        "object": "drift",
        "classifier_id": record.id,
        "version": version.number,
        "observe": record.observe,
        "start": report.start,
        "end": report.end,
        "drifted": report.drifted,
        "measures": _measures(report.drift),
        "reference": None if report.reference is None else _items(report.reference),
        "observed": _items(report.observed),
        "days": render_days(report.days),
    }


def render_days(days: Sequence[DayDrift]) -> list[dict[str, Any]]:
    """The drift by day."""
    return [
        {
            "date": each.day,
            "items": each.observed.items,
            "uncertain": _uncertain(each.observed),
            "drifted": each.drift is not None and each.drift.drifted,
            "measures": _measures(each.drift),
        }
        for each in days
    ]


def _measures(found: DriftMeasures | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: _measure(measure) for name, measure in found.by_name.items()}


def _measure(of: Measure) -> dict[str, Any]:
    return {
        "value": round(of.value, _DECIMALS),
        "threshold": round(of.threshold, _DECIMALS),
        "drifted": of.drifted,
    }


def _items(of: Observation) -> dict[str, Any]:
    return {
        "items": of.items,
        "uncertain": _uncertain(of),
        "labels": of.labels,
        "confidence": of.confidence,
    }


def _uncertain(of: Observation) -> float | None:
    return round(of.uncertain / of.items, _DECIMALS) if of.items else None
