"""What the service answers, as typed records. Fields that a newer service adds are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

BATCH_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A typed record; `to_dict()` gives it as plain dicts and lists."""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON has it."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


class Usage(Record, frozen=True, kw_only=True):
    """What a call has cost."""

    total_tokens: int = 0
    prompt_tokens: int = 0


class LabelScore(Record, frozen=True, kw_only=True):
    """A label and its score."""

    label: str
    score: float


class Problem(Record, frozen=True, kw_only=True):
    """Why one item failed while the others did not."""

    code: str
    message: str


class Classification(Record, frozen=True, kw_only=True):
    """What was predicted for one input.

    With label groups, `prediction`, `score` and `predictions` are dicts by the name of the group.
    `prediction` and `score` are None where no label reached the threshold, or with an `error`.
    """

    index: int
    prediction: str | dict[str, str | None] | None = None
    score: float | dict[str, float | None] | None = None
    predictions: list[LabelScore] | dict[str, list[LabelScore]] = []
    margin: float | dict[str, float | None] | None = None
    uncertain: bool | dict[str, bool | None] | None = None
    fit: float | dict[str, float] | None = None
    truncated: bool | None = None
    file: dict[str, Any] | None = None
    cached: bool | None = None
    model: str | None = None
    warnings: list[str] = []
    error: Problem | None = None


class RequestWarning(Record, frozen=True, kw_only=True):
    """What in a request makes its answers worse, and what to do."""

    code: str
    message: str
    labels: list[str] = []
    group: str | None = None


class AnsweringVersion(Record, frozen=True, kw_only=True):
    """The version of a classifier that answered."""

    id: str
    version: int


class Classifications(Record, frozen=True, kw_only=True):
    """The answer of `classify`: one entry for each input, in their order."""

    data: list[Classification]
    usage: Usage = Usage()
    classifier: AnsweringVersion | None = None
    warnings: list[RequestWarning] = []


class LearningPoint(Record, frozen=True, kw_only=True):
    """The share of a call's examples predicted right after so many examples."""

    examples: int
    accuracy: float


class TrainMetrics(Record, frozen=True, kw_only=True):
    """How the examples of a call were predicted, each before it was learnt."""

    accuracy: float
    log_loss: float
    label_strength: float
    trust: dict[str, float]
    learning_curve: list[LearningPoint] = []


class Remark(Record, frozen=True, kw_only=True):
    """What in the examples or labels hurts a classifier, and what to do."""

    kind: str
    message: str
    labels: list[str] = []
    items: list[int] = []
    value: float = 0.0


class Training(Record, frozen=True, kw_only=True):
    """The answer of `train`: a new version of a classifier."""

    classifier_id: str
    version: int
    candidate: bool = False
    num_samples: int
    labels: list[str]
    metrics: TrainMetrics | None = None
    remarks: list[Remark] = []
    usage: Usage = Usage()
    job_id: str = ""


class LabelReport(Record, frozen=True, kw_only=True):
    """How one label fares. `support`: number of examples that have it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    threshold: float


class ConfusionMatrix(Record, frozen=True, kw_only=True):
    """`counts[i][j]`: examples of `labels[i]` that were predicted as `labels[j]`."""

    labels: list[str]
    counts: list[list[int]]


class ReliabilityPoint(Record, frozen=True, kw_only=True):
    """Examples whose best score lies in a bin that ends at `upper`."""

    upper: float
    confidence: float
    accuracy: float
    count: int


class Candidate(Record, frozen=True, kw_only=True):
    """An example that the classifier is unsure of. `index`: in the request, from 0."""

    index: int
    prediction: str
    score: float
    margin: float


class Evaluation(Record, frozen=True, kw_only=True):
    """The answer of `evaluate`: how good a version of a classifier is on labelled examples."""

    classifier_id: str
    version: int
    num_samples: int
    accuracy: float
    macro_f1: float
    micro_f1: float
    expected_calibration_error: float
    labels: list[LabelReport]
    confusion_matrix: ConfusionMatrix
    reliability: list[ReliabilityPoint] = []
    most_worth_labelling: list[Candidate] = []
    thresholds: dict[str, float] = {}
    plots: dict[str, dict[str, str]] = {}
    usage: Usage = Usage()
    job_id: str = ""


class Classifier(Record, frozen=True, kw_only=True):
    """A classifier of the account, as a list has it."""

    classifier_id: str
    name: str | None = None
    model: str
    version: int
    labels: list[str]
    aliases: dict[str, int] = {}
    access: str = "private"
    description: str = ""
    keep_examples: bool = False
    used_number: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class LabelCount(Record, frozen=True, kw_only=True):
    """A label and the number of its examples."""

    label: str
    count: int


class ClassifierDetail(Record, frozen=True, kw_only=True):
    """All that is known of a version of a classifier but its weights."""

    classifier_id: str
    name: str | None = None
    model: str
    version: int
    is_latest: bool = True
    made_by: str = ""
    labels: list[LabelCount]
    num_samples: int = 0
    aliases: dict[str, int] = {}
    access: str = "private"
    description: str = ""
    keep_examples: bool = False
    observe: bool = True
    metrics: TrainMetrics | None = None
    remarks: list[Remark] = []


class Version(Record, frozen=True, kw_only=True):
    """A version of a classifier; it never changes."""

    version: int
    created_at: datetime
    made_by: str
    model: str
    samples: int
    label_count: int
    accuracy: float | None = None
    aliases: list[str] = []
    is_latest: bool = False


class Progress(Record, frozen=True, kw_only=True):
    """Items of a job: all, finished, failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class JobError(Record, frozen=True, kw_only=True):
    """Why a job failed."""

    code: str
    detail: str
    errors: list[dict[str, Any]] = []


class Job(Record, frozen=True, kw_only=True):
    """A durable job. It has ended when `finished_at` is set.

    `status`: `queued`, `running`, `finalising`, `cancelling`, `expiring`; at the end `succeeded`,
    `failed`, `cancelled` or `expired`.
    """

    id: str
    kind: str
    status: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    phase: str | None = None  # of a retraining: collecting, training, evaluating or deciding
    progress: Progress = Progress()
    usage: Usage = Usage()
    metadata: dict[str, str] | None = None
    result: dict[str, Any] | None = None
    result_url: str | None = None
    error: JobError | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of the job changes any more."""
        return self.finished_at is not None


class BatchFault(Record, frozen=True, kw_only=True):
    """A row that cannot be worked on, or why the batch failed. `line`: from 1, in the file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchFaults(Record, frozen=True, kw_only=True):
    """The first 100 of them."""

    data: list[BatchFault] = []


class BatchProgress(Record, frozen=True, kw_only=True):
    """How a batch goes on: rows per second since its start, seconds left at that rate."""

    phase: str = ""
    rate_per_s: float | None = None
    seconds_left: float | None = None
    waiting_for: str | None = None


class Batch(Record, frozen=True, kw_only=True):
    """A file of rows that is worked through. Times in seconds since 1970.

    `status`: `validating`, `in_progress`, `finalizing`, `cancelling`; at the end `completed`,
    `failed`, `expired` or `cancelled`. `completed` says nothing of its rows: `request_counts` does.
    """

    id: str
    status: str
    endpoint: str = ""
    model: str = ""
    errors: BatchFaults | None = None
    input_file_id: str | None = None
    input_url: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    retry_of: str | None = None
    created_at: int = 0
    expires_at: int | None = None
    request_counts: Progress = Progress()
    metadata: dict[str, str] | None = None
    usage: Usage | None = None
    format: str | None = None
    progress: BatchProgress = BatchProgress()

    @property
    def ended(self) -> bool:
        """Whether nothing of the batch changes any more."""
        return self.status in BATCH_ENDED


class File(Record, frozen=True, kw_only=True):
    """A file on the service. Times in seconds since 1970."""

    id: str
    bytes: int
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None = None


class Model(Record, frozen=True, kw_only=True):
    """A model of the catalogue. `available`: whether a running worker holds it; `kind`: `embedding`
    or `nli`; `engines`: the values of `engine` for requests with it. Of `auto`, `models` are those
    that it chooses from.
    """

    id: str
    aliases: list[str] = []
    device: str = ""
    languages: list[str] = []
    kind: str = ""
    engines: list[str] = []
    available: bool = False
    models: list[str] = []
    unsupported_languages: list[str] = []


class RetrainingSettings(Record, frozen=True, kw_only=True):
    """When and how a classifier is retrained."""

    classifier_id: str
    enabled: bool = True
    schedule: str | None = None
    timezone: str = "UTC"
    sources: list[dict[str, Any]] = []
    method: str = "update"
    promote: str = "if_better"
    alias: str = "champion"
    holdout: dict[str, Any] = {}
    gate: dict[str, Any] = {}
    minimum_new_examples: int = 0
    auto_rollback: dict[str, Any] | None = None
    next_run_at: datetime | None = None
    active_run: str | None = None
    last_rollback: dict[str, Any] | None = None


class RunDecision(Record, frozen=True, kw_only=True):
    """What became of a challenger: `promote`, `reject`, `ask` or `skip`."""

    outcome: str
    reasons: list[str] = []


class RetrainingRun(Record, frozen=True, kw_only=True):
    """One run: `status` ends as `promoted`, `rejected`, `waiting`, `skipped`, `failed` or
    `cancelled`. `plots` are URLs of SVG files by name.
    """

    id: str
    job_id: str
    status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    counts: dict[str, int] = {}
    champion: int | None = None
    challenger: int | None = None
    new_labels: list[str] = []
    metrics: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    decision: RunDecision | None = None
    error: str | None = None
    live_check: dict[str, Any] | None = None
    rolled_back_at: datetime | None = None
    rollback_reason: str | None = None
    plots: dict[str, str] = {}
    report_url: str | None = None

    @property
    def reasons(self) -> list[str]:
        """Why it ended as it did, in words."""
        failed = [self.error] if self.error else []
        return failed + (self.decision.reasons if self.decision else [])


class DailyAccuracy(Record, frozen=True, kw_only=True):
    """The feedback of a day (UTC) on a version."""

    version: int
    date: str
    items: int
    correct: int
    accuracy: float


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list, newest first; `last_id` is the `after` of the next page."""

    data: list[T]
    last_id: str | None = None
    has_more: bool = False
