"""Runs of retrainings in the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.retraining import (
    LabelAgreement,
    LiveCheck,
    Run,
    RunCounts,
    RunMetrics,
    RunProgress,
    RunStatus,
    SignificanceTest,
    Trigger,
)

PLOTS = (
    "learning_curve", "labels", "confusion_matrix_champion", "confusion_matrix_challenger",
    "reliability",
)  # fmt: skip
"""The plots of a run that has compared two versions."""


class RunVersions(BaseModel):
    """References to the versions of a run."""

    champion: str | None
    challenger: str | None


class RunDecision(BaseModel):
    """What became of the challenger."""

    outcome: Literal["promote", "reject", "ask", "skip"]
    reasons: list[str]


class BadExampleObject(BaseModel):
    """A row that was not used."""

    place: str
    message: str


class RunObject(BaseModel):
    """One run of a retraining."""

    id: str
    object: Literal["retraining.run"]
    classifier_id: str
    job_id: str
    status: RunStatus
    trigger: Trigger
    tick: datetime | None
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None
    progress: RunProgress
    counts: RunCounts
    champion: int | None = Field(description="The version that was live.")
    challenger: int | None = Field(description="The version that the run made.")
    versions: RunVersions
    method: str | None
    rejected_rows: Literal["none", "with", "without"] = Field(
        description="Whether the challenger has learnt the rows of rejected runs."
    )
    new_labels: list[str]
    missing_labels: list[str] = Field(description="Labels that should have new examples.")
    label_agreement: LabelAgreement | None = Field(
        description="Whether the labels of the new examples agree with the champion as usual; null "
        "before two versions were compared."
    )
    bad_rows: list[BadExampleObject]
    set_aside: list[str] = Field(description="Places of rows that were rejected three times.")
    metrics: RunMetrics | None
    test: SignificanceTest | None
    decision: RunDecision | None
    error: str | None
    live_check: LiveCheck | None = Field(
        description="The promoted version against the one before, on feedback: `auto_rollback`."
    )
    rolled_back_at: datetime | None
    rollback_reason: str | None
    plots: dict[str, str] = Field(
        description="URLs of the plots by name, as SVG; empty before two versions were compared."
    )
    report_url: str = Field(description="URL of the report, as HTML or JSON.")


class RunList(BaseModel):
    """Runs, newest first."""

    object: Literal["list"]
    data: list[RunObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def render_run(run: Run, *, root: str = "") -> dict[str, Any]:
    """One run. URLs begin with `root`."""
    url = f"{root}/v1/classifiers/{run.classifier_id}/retraining/runs/{run.id}"
    plots = PLOTS if run.metrics else ()

    def ref(version: int | None) -> str | None:
        return None if version is None else f"{run.classifier_id}@v{version}"

    return {
        **run.model_dump(mode="json", exclude={"schema_number", "account"}),
        "object": "retraining.run",
        "versions": {"champion": ref(run.champion), "challenger": ref(run.challenger)},
        "plots": {plot: f"{url}/plots/{plot}.svg" for plot in plots},
        "report_url": f"{url}/report",
    }


def render_runs(runs: list[Run], *, has_more: bool, root: str = "") -> dict[str, Any]:
    """A page of runs."""
    return {
        "object": "list",
        "data": [render_run(run, root=root) for run in runs],
        "first_id": runs[0].id if runs else None,
        "last_id": runs[-1].id if runs else None,
        "has_more": has_more,
    }
