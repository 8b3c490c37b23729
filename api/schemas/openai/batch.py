"""The batch object: OpenAI's fields, and Pigeonhole's in addition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

from shared import ids
from shared.batches import BadRow, BatchRequest, BatchResult, Plan
from shared.dialects.classification import ClassifyWarning
from shared.dialects.evaluation_report import render_alike
from shared.jobs import Job, State
from shared.types import Failure, Usage
from shared.usage import usage_model

Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling",
    "cancelled",
]  # fmt: skip
Phase = Literal["waiting", "validating", "classifying", "finalizing", "cancelling", "ended"]
_STATUSES: dict[State, Status] = {
    State.QUEUED: "validating",
    State.RUNNING: "in_progress",
    State.FINALISING: "finalizing",
    State.CANCELLING: "cancelling",
    State.EXPIRING: "finalizing",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}
STATUSES: tuple[Status, ...] = get_args(Status)
_LAPSING = frozenset({State.QUEUED, State.RUNNING, State.EXPIRING})


def states_of(status: str) -> frozenset[State]:
    """The job states of batches with a status; `BatchStatus.status` decides between them."""
    states = {state for state, each in _STATUSES.items() if each == status}
    if status == "expired":
        states |= _LAPSING
    return frozenset(states | {State.RUNNING} if status == "validating" else states)


@dataclass(frozen=True, kw_only=True)
class BatchStatus:
    """The status of a batch: its request, its plan, its progress and its result.

    `rate_per_s` is how many rows a second have come out of late. `attended` says whether a worker
    lives, where that makes a difference: at a batch whose window is over. `waiting_for` says what
    a batch cannot go on without.
    """

    job: Job
    request: BatchRequest
    plan: Plan | None
    completed: int
    failed: int
    result: BatchResult | None
    rate_per_s: float | None = None
    attended: bool = True
    waiting_for: str | None = None

    @property
    def total(self) -> int:
        """Rows of the file; 0 until they are counted."""
        return self.job.progress.total if self.plan is None else self.plan.total

    @property
    def status(self) -> Status:
        """What the batch is doing.

        A batch whose window is over is expired once its files exist, or while no worker can write
        them soon.
        """
        if not self.attended and self.job.state in _LAPSING:
            return "expired"
        validating = self.plan is None and self.job.state is State.RUNNING
        return "validating" if validating else _STATUSES[self.job.state]

    @property
    def version(self) -> str:
        """Text that changes with every change that a caller waits for."""
        waits = "-waiting" if self.waiting_for else ""
        return f"{self.status}-{self.total}-{self.completed}-{self.failed}{waits}"


class BatchFault(BaseModel):
    """An invalid line, or the error of the batch."""

    code: str
    message: str
    param: str | None
    line: int | None = Field(description="Line in the input file, from 1.")


class BatchFaults(BaseModel):
    """The first 100 errors."""

    object: Literal["list"]
    data: list[BatchFault]


class RequestCounts(BaseModel):
    """Rows of the file; at the end, total is the sum of completed and failed."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Always zero: an item from the result cache costs no tokens at all."""

    cached_tokens: Literal[0]


class OutputTokensDetails(BaseModel):
    """Always zero: no tokens are generated."""

    reasoning_tokens: Literal[0]


class BatchUsage(BaseModel):
    """Tokens charged for the batch."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: Literal[0]
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchSummary(BaseModel):
    """The most frequent error of the failed rows, and how many rows a retry can cure."""

    most_frequent_error: str
    count: int
    retryable: int | None = Field(
        description="Number of failed rows that a retry can cure; null for a batch that ended "
        "before they were counted."
    )


class BatchProgress(BaseModel):
    """Progress of the batch."""

    phase: Phase
    rate_per_s: float | None = Field(
        description="Recent rows per second, over 10 s or longer; 0 if no row was completed for a "
        "long time. For a batch that has ended, the mean of its whole run."
    )
    seconds_left: float | None = Field(
        description="Estimate at this rate, while rows are processed."
    )
    waiting_for: str | None = Field(
        description="What the batch waits for, such as a worker with its model."
    )


class BatchObject(BaseModel):
    """A batch. Times in seconds since 1970; file ids are set once it has ended."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str = Field(description="`auto` if the language of each text decides.")
    errors: BatchFaults | None = Field(description="Errors of the input file.")
    input_file_id: str | None = Field(description="Null if `input_url` names the input.")
    input_url: str | None
    retry_of: str | None = Field(description="The batch whose failed rows this batch retries.")
    output_file_id: str | None = Field(description="Null if no row succeeded.")
    error_file_id: str | None = Field(description="Null if no row failed.")
    output_url: str | None = Field(description="The output file below the requested `output_url`.")
    error_url: str | None
    output_name: str | None = Field(description="The `output_name` of the request.")
    completion_window: str
    status: Status
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    usage: BatchUsage | None
    summary: BatchSummary | None
    warnings: list[ClassifyWarning] = Field(
        description="Of the labels of plain rows, once the batch has ended: those that mean the "
        "same to the model."
    )
    format: str | None = Field(description="Detected format of the input file.")
    progress: BatchProgress


class BatchList(BaseModel):
    """A page of batches, newest first."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page.")
    has_more: bool


def render_batch(standing: BatchStatus) -> dict[str, Any]:
    """The batch object."""
    job, request, plan, result = standing.job, standing.request, standing.plan, standing.result
    output = None if result is None else result.output_file
    errors = None if result is None else result.error_file
    return {
        "id": ids.batch_id_of(job.id),
        "object": "batch",
        "endpoint": request.endpoint,
        "model": usage_model(request),
        "errors": render_faults(() if plan is None else plan.bad, job.error),
        "input_file_id": request.source.object or None,
        "input_url": request.source.url or None,
        "retry_of": ids.batch_id_of(request.retry_of) if request.retry_of else None,
        "output_file_id": output,
        "error_file_id": errors,
        "output_url": None if result is None else result.output_url,
        "error_url": None if result is None else result.error_url,
        "output_name": request.output_name or None,
        "completion_window": request.completion_window,
        "status": standing.status,
        "created_at": _seconds(job.created_at),
        "in_progress_at": None if plan is None else _seconds(job.started_at),
        "expires_at": None if request.deadline is None else int(request.deadline),
        "finalizing_at": _seconds(job.finalising_at),
        "completed_at": _ended(job, State.SUCCEEDED),
        "failed_at": _ended(job, State.FAILED),
        "expired_at": _expired_at(standing),
        "cancelling_at": _seconds(job.cancelling_at),
        "cancelled_at": _ended(job, State.CANCELLED),
        "request_counts": {
            "total": standing.total,
            "completed": standing.completed,
            "failed": standing.failed,
        },
        "metadata": request.metadata or None,
        "usage": _usage(job.usage) if job.state.terminal else None,
        "summary": None if result is None else _summary(result),
        "warnings": [] if result is None else [render_alike(each) for each in result.alike],
        "format": None if plan is None else plan.format,
        "progress": _progress(standing),
    }


def render_faults(bad: Sequence[BadRow], error: Failure | None) -> dict[str, Any] | None:
    """Errors of the whole file, then its bad rows; None without errors."""
    faults = [each.model_dump(exclude={"retryable"}) for each in bad]
    if error is not None:
        param = error.fields[0][0] if error.fields else None
        code = error.code.lower()
        faults.insert(0, {"code": code, "message": error.detail, "param": param, "line": None})
    return {"object": "list", "data": faults} if faults else None


def _summary(result: BatchResult) -> dict[str, Any] | None:
    if not result.codes:
        return None
    code = max(result.codes, key=lambda each: result.codes[each])
    return {
        "most_frequent_error": code,
        "count": result.codes[code],
        "retryable": result.retryable,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.total_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _progress(standing: BatchStatus) -> dict[str, Any]:
    phase = _phase(standing)
    rate = _mean_rate(standing) if phase == "ended" else standing.rate_per_s
    open_rows = standing.total - standing.completed - standing.failed
    left = open_rows / rate if rate and phase == "classifying" else None
    return {
        "phase": phase,
        "rate_per_s": None if rate is None else round(rate, 2),
        "seconds_left": None if left is None else round(left, 1),
        "waiting_for": standing.waiting_for,
    }


def _mean_rate(standing: BatchStatus) -> float | None:
    """Rows per second over the whole run of a batch that has ended."""
    job, done = standing.job, standing.completed + standing.failed
    if job.started_at is None or job.finished_at is None or standing.plan is None or not done:
        return None
    spent_s = (job.finished_at - job.started_at).total_seconds()
    return done / spent_s if spent_s > 0 else None


def _phase(standing: BatchStatus) -> Phase:
    match standing.job.state:
        case State.QUEUED:
            return "waiting"
        case State.RUNNING:
            return "validating" if standing.plan is None else "classifying"
        case State.FINALISING | State.EXPIRING:
            return "finalizing"
        case State.CANCELLING:
            return "cancelling"
        case _:
            return "ended"


def _expired_at(standing: BatchStatus) -> int | None:
    if standing.status != "expired":
        return None
    return _seconds(standing.job.finished_at or standing.job.deadline)


def _ended(job: Job, state: State) -> int | None:
    return _seconds(job.finished_at) if job.state is state else None


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
