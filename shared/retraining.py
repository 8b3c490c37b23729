"""Retraining of a classifier: its settings, its runs, and what a run leaves for the next one.

A run collects new examples, trains a challenger, judges champion and challenger on the same
holdout, and promotes the challenger if the gate lets it. `workers.handlers.retrain` does it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import Field

from shared import ids
from shared.evaluation_results import ReliabilityBin
from shared.types import Example, JobRequest, JobResult, Value

Method = Literal["update", "rebuild", "both"]
Promote = Literal["if_better", "ask", "always"]
MetricName = Literal["macro_f1", "accuracy", "micro_f1", "f1", "cost"]
TestName = Literal["not_worse", "better"]
Statistic = Literal["bootstrap", "mcnemar"]
Trigger = Literal["schedule", "manual", "drift"]
RunStatus = Literal[
    "collecting", "training", "evaluating", "deciding",
    "promoted", "rejected", "waiting", "skipped", "failed", "cancelled",
]  # fmt: skip
PHASES: tuple[RunStatus, ...] = ("collecting", "training", "evaluating", "deciding")
ENDED: frozenset[RunStatus] = frozenset(
    {"promoted", "rejected", "waiting", "skipped", "failed", "cancelled"}
)
RejectedRowsIn = Literal["none", "with", "without"]


class Source(Value):
    """Where new examples come from: exactly one of the fields is set."""

    feedback: bool = False
    url: str = ""  # s3://bucket/key, or a prefix that ends in `/`
    file_id: str = ""

    def __str__(self) -> str:
        """As a person names it."""
        return "feedback" if self.feedback else self.url or self.file_id


class Columns(Value):
    """Columns of the rows of sources."""

    text: str = "text"
    label: str = "label"
    id: str | None = None


class Holdout(Value):
    """The examples that champion and challenger are judged on: a fixed file, or a share of rows."""

    share: float | None = 0.2
    file_id: str = ""
    url: str = ""


class Gate(Value):
    """When a challenger may replace the champion.

    `label` is the label of the metric `f1`. `costs` are those of the metric `cost`, by true label
    and predicted label; a confusion without an entry costs 1. `maximum_label_drop` applies to
    labels with at least `MIN_SUPPORT` examples in the holdout.
    """

    metric: MetricName = "macro_f1"
    label: str | None = None
    costs: dict[str, dict[str, float]] = Field(default_factory=dict)
    minimum_gain: float = 0.0
    confidence: float = 0.95
    test: TestName = "not_worse"
    statistic: Statistic = "bootstrap"
    maximum_label_drop: float | None = 0.05
    maximum_ece: float | None = 0.1


MIN_SUPPORT = 10


class AutoRollback(Value):
    """When feedback moves the alias back: `metric` falls by more than `drop` in `window` items."""

    metric: Literal["accuracy"] = "accuracy"
    drop: float = 0.05
    window: int = 200


class RetrainingSettings(Value):
    """What an owner sets."""

    enabled: bool = True
    schedule: str | None = None  # five fields of cron
    timezone: str = "UTC"
    on_drift: bool = False
    sources: tuple[Source, ...] = ()
    columns: Columns = Columns()
    method: Method = "update"
    model: str | None = None  # of `rebuild`; None: the champion's
    num_iters: int = 10
    holdout: Holdout = Holdout()
    minimum_new_examples: int = 20
    gate: Gate = Gate()
    promote: Promote = "if_better"
    alias: str = "champion"
    keep_runs: int = 50
    auto_rollback: AutoRollback | None = None


class RetrainingRecord(Value):
    """The record of a classifier's retraining; changed by compare-and-set."""

    schema_number: int = 1
    account: str
    classifier_id: str
    settings: RetrainingSettings
    next_tick: datetime | None = None  # of the schedule; the index has the same
    created_at: datetime
    updated_at: datetime


class Rollback(Value):
    """An alias that was moved back, by hand or because feedback said so."""

    run: str | None  # whose promotion is undone; None: no run had promoted the version
    automatic: bool
    from_version: int
    to_version: int
    reason: str
    at: datetime


class RetrainingState(Value):
    """What the runs have done; changed by compare-and-set.

    `snapshot` is the run whose objects hold what was consumed, the holdout and the rejected rows.
    `active` is the run that works now; a second one waits for its end.
    `last_rollback` is the latest time that the alias was moved back.
    """

    schema_number: int = 1
    active: str | None = None
    snapshot: str | None = None
    last_rollback: Rollback | None = None


class FeedbackItem(Value):
    """The true label of one item that was classified, as a user of the results tells it."""

    schema_number: int = 1
    id: str
    example: Example | None = None  # None: it counts for the live accuracy only
    label: str
    predicted: str | None = None
    version: int | None = None
    source: str = ""
    created_at: datetime


class RunCounts(Value):
    """What a run collected, in rows. `learnt` are those in the challenger."""

    read: int = 0
    new: int = 0
    duplicate: int = 0
    conflicting: int = 0
    bad: int = 0
    held_out: int = 0
    holdout: int = 0
    rejected_before: int = 0
    set_aside: int = 0
    learnt: int = 0


class BadExample(Value):
    """A row that was not used, with its place in its source."""

    place: str
    message: str


class LabelMetrics(Value):
    """F1 of one label in the holdout, by both versions."""

    label: str
    support: int
    champion_f1: float
    challenger_f1: float


class VersionMetrics(Value):
    """How one version does on the holdout."""

    macro_f1: float
    accuracy: float
    micro_f1: float
    calibration_error: float


class RunMetrics(Value):
    """Champion and challenger on the same holdout."""

    champion: VersionMetrics
    challenger: VersionMetrics
    labels: tuple[LabelMetrics, ...] = ()


class SignificanceTest(Value):
    """The paired test of the gain; `interval` has the confidence of the gate.

    `hypothesis` and `minimum_gain` are what the gate asks of the challenger. `metric`, `champion`
    and `challenger` are the metric of the gate and its values; those of a record of a version
    without them are None.
    """

    statistic: Statistic
    hypothesis: TestName = "not_worse"
    minimum_gain: float = 0.0
    confidence: float = 0.95
    metric: MetricName = "macro_f1"
    champion: float | None = None
    challenger: float | None = None
    gain: float
    interval: tuple[float, float] | None = None
    p_value: float
    passed: bool


class PredictionSummary(Value):
    """What one version predicts for the holdout.

    `confusion` has the index of the true label, that of the predicted one and their count, without
    zeros: it is as long as the holdout at most.
    """

    confusion: tuple[tuple[int, int, int], ...]
    reliability: tuple[ReliabilityBin, ...]


class HoldoutComparison(Value):
    """What both versions predict for the holdout; an object beside the record of the run."""

    schema_number: int = 1
    labels: tuple[str, ...]
    champion: PredictionSummary
    challenger: PredictionSummary


class LabelAgreement(Value):
    """How far the labels of the new examples are those that the champion predicts.

    `agreed` of `examples` are, without labels that it does not know; `usual` is its accuracy on the
    holdout. `unusual`: they agree less than labels of the holdout, by more than chance explains.
    """

    examples: int
    agreed: int
    usual: float
    p_value: float
    unusual: bool


class Decision(Value):
    """What became of a challenger, with the reasons in words."""

    outcome: Literal["promote", "reject", "ask", "skip"]
    reasons: tuple[str, ...]


class LiveCheck(Value):
    """A promoted version against the one before, on feedback.

    `baseline` is the metric of the version before, on `baseline_items` items of feedback; 0: on
    the holdout of the run. `items` counts the feedback on the new version, at most `window`.
    """

    metric: Literal["accuracy"]
    drop: float
    window: int
    baseline: float
    baseline_items: int
    items: int
    correct: int
    outcome: Literal["running", "kept", "worse"]


class RunProgress(Value):
    """Rows that a run is to use, and how many of them are embedded."""

    total: int = 0
    completed: int = 0


class Run(Value):
    """One run. `challenger` is the version it made; None where it made none."""

    schema_number: int = 1
    id: str
    account: str
    classifier_id: str
    job_id: str
    trigger: Trigger = "manual"
    tick: datetime | None = None
    dry_run: bool = False
    status: RunStatus = "collecting"
    started_at: datetime
    finished_at: datetime | None = None
    progress: RunProgress = RunProgress()
    counts: RunCounts = RunCounts()
    champion: int | None = None
    challenger: int | None = None
    method: str | None = None
    rejected_rows: RejectedRowsIn = "none"
    new_labels: tuple[str, ...] = ()
    missing_labels: tuple[str, ...] = ()
    label_agreement: LabelAgreement | None = None
    bad_rows: tuple[BadExample, ...] = ()
    set_aside: tuple[str, ...] = ()
    metrics: RunMetrics | None = None
    test: SignificanceTest | None = None
    decision: Decision | None = None
    error: str | None = None
    live_check: LiveCheck | None = None
    rolled_back_at: datetime | None = None
    rollback_reason: str | None = None


class RetrainRequest(JobRequest):
    """One run of a classifier's retraining."""

    kind: Literal["retrain"] = "retrain"
    classifier_id: str
    trigger: Trigger = "manual"
    tick: datetime | None = None
    dry_run: bool = False
    deadline: float | None = None  # seconds since 1970


class RetrainResult(JobResult):
    """The outcome of a run."""

    classifier_id: str
    run: Run


def run_id_of(job_id: str) -> str:
    """The id of the run that a job does.

    >>> run_id_of("job_0123")
    'run_0123'
    """
    return job_id.replace("job_", "run_", 1)


def tick_job_id(account: str, classifier_id: str, tick: datetime) -> str:
    """The job of a tick of a schedule: the same for each process that starts it."""
    ms = round(tick.timestamp() * 1000)
    cause = f"{account}.{classifier_id}.{ms}".encode()
    return ids.job_id(ms, int.from_bytes(hashlib.sha256(cause).digest()[:10], "big"))


def job_id_of_run(run_id: str) -> str:
    """The job of a run.

    >>> job_id_of_run("run_0123")
    'job_0123'
    """
    return run_id.replace("run_", "job_", 1)
