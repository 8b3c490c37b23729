"""The report of a run: its data, and its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.drift import DriftDay, render_days
from api.schemas.evaluation import ConfusionMatrix, ReliabilityPoint
from api.schemas.run import RunObject, render_run
from api.schemas.run_summary import headline, summary
from shared.drift_report import DayDrift
from shared.retraining import HoldoutComparison, PredictionSummary, Run, RunStatus


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a report is made of.

    Attributes:
        run: The run.
        name: The name of the classifier, or its id.
        alias: The alias of the live version.
        comparison: What both versions predict for the holdout; None if they were not compared.
        earlier: Runs before this one, newest first.
        drift: The days before the run on which the champion has classified, oldest first.
    """

    run: Run
    name: str
    alias: str
    comparison: HoldoutComparison | None
    earlier: tuple[Run, ...] = ()
    drift: tuple[DayDrift, ...] = ()

    @property
    def headline(self) -> str:
        """The decision in one sentence."""
        return headline(self.run)

    @property
    def summary(self) -> list[str]:
        """The reasons in sentences."""
        return summary(self.run, name=self.name, alias=self.alias)

    @property
    def curve(self) -> list[CurvePoint]:
        """The runs that have compared two versions, oldest first; this one is the last."""
        before = [run for run in reversed(self.earlier) if not run.dry_run]
        return [
            CurvePoint(
                run_id=run.id,
                started_at=run.started_at,
                status=run.status,
                champion=run.metrics.champion.macro_f1,
                challenger=run.metrics.challenger.macro_f1,
                holdout=sum(each.support for each in run.metrics.labels),
            )
            for run in (*before, self.run)
            if run.metrics is not None
        ]


class CurvePoint(BaseModel):
    """Macro F1 of both versions of one run on the holdout of that run."""

    run_id: str
    started_at: datetime
    status: RunStatus
    champion: float
    challenger: float
    holdout: int = Field(description="Number of examples in the holdout.")


class VersionPredictions(BaseModel):
    """What one version predicts for the holdout."""

    confusion_matrix: ConfusionMatrix
    reliability: list[ReliabilityPoint]


class RunReportObject(BaseModel):
    """The report of a run: the decision in words, the run, and what its plots show."""

    object: Literal["retraining.report"]
    classifier_id: str
    headline: str = Field(description="The decision in one sentence.")
    summary: list[str] = Field(description="Why, in sentences for a person.")
    run: RunObject
    learning_curve: list[CurvePoint] = Field(
        description="The runs up to this one that have compared two versions, oldest first."
    )
    drift: list[DriftDay] = Field(
        description="The days before the run on which the champion has classified, oldest first: "
        "how far that differs from what it was trained and judged on."
    )
    champion: VersionPredictions | None
    challenger: VersionPredictions | None


def render_report(report: RunReport, *, root: str = "") -> dict[str, Any]:
    """The report as JSON. URLs begin with `root`."""
    compared = report.comparison
    return {
        "object": "retraining.report",
        "classifier_id": report.run.classifier_id,
        "headline": report.headline,
        "summary": report.summary,
        "run": render_run(report.run, root=root),
        "learning_curve": [point.model_dump(mode="json") for point in report.curve],
        "drift": render_days(report.drift),
        "champion": compared and _predictions(compared.labels, compared.champion),
        "challenger": compared and _predictions(compared.labels, compared.challenger),
    }


def _predictions(labels: tuple[str, ...], summary: PredictionSummary) -> dict[str, Any]:
    counts = [[0] * len(labels) for _ in labels]
    for true, predicted, count in summary.confusion:
        counts[true][predicted] = count
    return {
        "confusion_matrix": {"labels": labels, "counts": counts},
        "reliability": summary.reliability,
    }
