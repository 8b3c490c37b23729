"""The job object of the API."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.evaluation import EvaluateAnswer
from api.schemas.openai.dry_run import DryRunAnswer
from api.schemas.run import RunObject
from shared import ids
from shared.batches import BatchResult
from shared.dialects.classification import ClassifyAnswer
from shared.dialects.training import TrainAnswer
from shared.jobs import Job, Progress, State
from shared.retraining import RunStatus
from shared.types import JobKind


class JobUsage(BaseModel):
    """Tokens charged for a job so far."""

    total_tokens: int


class JobFault(BaseModel):
    """Why a job failed; the fields are those of a problem response."""

    code: str
    detail: str
    errors: list[dict[str, str]]


class BatchAnswer(BaseModel):
    """The result of a batch; `/v1/batches/{batch_id}` has the details."""

    batch_id: str
    output_file_id: str | None = Field(description="Null if no row succeeded.")
    error_file_id: str | None = Field(description="Null if no row failed.")
    usage: JobUsage


Result = ClassifyAnswer | TrainAnswer | EvaluateAnswer | RunObject | BatchAnswer | DryRunAnswer


class JobObject(BaseModel):
    """A durable job. Poll it until `finished_at` is set."""

    id: str
    object: Literal["job"]
    kind: JobKind
    status: State
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime = Field(description="When the job and its result are deleted.")
    phase: Literal["collecting", "training", "evaluating", "deciding"] | None = Field(
        description="What a retraining does now; null for other jobs, and before and after it."
    )
    progress: Progress
    waiting_for: str | None = Field(
        default=None,
        description="What a job that has not ended waits for, where that is its model: a worker "
        "that holds it, or its weights, which a worker loads.",
    )
    usage: JobUsage
    result: Result | None = Field(description="The response of the call, if it is small.")
    result_url: str | None = Field(description="URL of the result, once the job has succeeded.")
    error: JobFault | None
    metadata: dict[str, str] | None = Field(
        description="The metadata of the call; null if it had none."
    )


class JobList(BaseModel):
    """Jobs, newest first."""

    object: Literal["list"]
    data: list[JobObject]
    first_id: str | None
    last_id: str | None = Field(
        description=(
            "Send it as `after` for the next page; the job of this id may be missing from `data`."
        )
    )
    has_more: bool


def render_job(
    job: Job,
    *,
    root: str = "",
    result: dict[str, Any] | None = None,
    phase: RunStatus | None = None,
    progress: Progress | None = None,
    waiting_for: str | None = None,
) -> dict[str, Any]:
    """The job object, with the rendered result if given. URLs begin with `root`.

    `phase` and `progress` are those of a retraining under way.
    """
    fault = job.error and {
        "code": job.error.code,
        "detail": job.error.detail,
        "errors": [{"field": f, "message": m, "type": t} for f, m, t in job.error.fields],
    }
    succeeded = job.state is State.SUCCEEDED
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "status": job.state,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "expires_at": job.expires_at,
        "phase": phase,
        "progress": progress or job.progress,
        "waiting_for": waiting_for,
        "usage": {"total_tokens": job.usage.total_tokens},
        "result": result,
        "result_url": f"{root}/v1/jobs/{job.id}/result" if succeeded and result is None else None,
        "error": fault,
        "metadata": job.metadata or None,
    }


def render_batch_result(result: BatchResult, *, job_id: str) -> dict[str, Any]:
    """The result of a batch."""
    return {
        "batch_id": ids.batch_id_of(job_id),
        "output_file_id": result.output_file,
        "error_file_id": result.error_file,
        "usage": {"total_tokens": result.usage.total_tokens},
    }


def render_jobs(
    jobs: list[Job], *, root: str = "", has_more: bool, last_id: str | None
) -> dict[str, Any]:
    """A page of jobs, ending with `last_id`; results stay behind their URLs."""
    return {
        "object": "list",
        "data": [render_job(job, root=root) for job in jobs],
        "first_id": jobs[0].id if jobs else None,
        "last_id": last_id,
        "has_more": has_more,
    }
