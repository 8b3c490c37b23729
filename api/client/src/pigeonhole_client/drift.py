"""Drift of a classifier: whether what it classifies has changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pigeonhole_client.types import Record


class DriftMeasure(Record, frozen=True, kw_only=True):
    """A measure of drift; the threshold is higher where few items could exceed it by chance."""

    value: float
    threshold: float
    drifted: bool


class DriftDay(Record, frozen=True, kw_only=True):
    """A day in UTC. `measures` are `labels`, `confidence` and `embedding`; None: no reference."""

    date: str
    items: int
    uncertain: float | None = None
    drifted: bool = False
    measures: dict[str, DriftMeasure] | None = None


class Drift(Record, frozen=True, kw_only=True):
    """How far what a version has classified differs from what it was trained and judged on."""

    classifier_id: str
    version: int
    observe: bool = True
    start: datetime | None = None
    end: datetime | None = None
    drifted: bool = False
    measures: dict[str, DriftMeasure] | None = None
    reference: dict[str, Any] | None = None
    observed: dict[str, Any] | None = None
    days: tuple[DriftDay, ...] = ()
