"""/v1/jobs: get, list and cancel durable jobs; their events, results and plots."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import middleware, pagination
from api.http.event_stream import EVENTS
from api.http.json_response import reply
from api.http.sse import of_jobs
from api.openapi.model import (
    LAST_EVENT_ID,
    METADATA,
    Operation,
    Parameter,
    after,
    choice,
    limit,
    path_id,
)
from api.routes import filters
from api.schemas import body
from api.schemas.evaluation import EvaluateAnswer
from api.schemas.job import BatchAnswer, JobList, JobObject, render_job, render_jobs
from api.schemas.result import render
from api.services.jobs import MAX_LOOKED_AT, PLOTS, JobService, JobStatus, holds
from shared import ids
from shared.dialects.classification import ClassifyAnswer
from shared.dialects.training import TrainAnswer
from shared.errors import ModelNotFound, NotFound
from shared.jobs import Job, State
from shared.messages import model_of
from shared.types import JobKind

_DEFAULT_LIMIT = 20
_MAX_LISTED = 100

_FILTERED = (
    f"At most {MAX_LOOKED_AT} jobs are looked at for a page, so with filters it may have fewer "
    "than `limit`, or none: go on after `last_id` while `has_more` is true."
)
_JOB_ID = path_id("job_id", "The `id` of a job.")
_PLOT = Parameter(
    name="file",
    where="path",
    about="One of the drawings of an evaluation.",
    schema={"type": "string", "enum": sorted(PLOTS)},
)
_operation = partial(Operation, tag="Jobs", scope="jobs")

OPERATIONS = (
    _operation(
        method="get",
        path="/v1/jobs",
        name="listJobs",
        summary="Your jobs, newest first.",
        parameters=(
            after("job_"),
            limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED),
            choice("kind", "Only jobs of this kind.", JobKind),
            choice("status", "Only jobs of this status.", State),
            METADATA,
        ),
        about=_FILTERED,
        answers={200: JobList},
    ),
    _operation(
        method="get",
        path="/v1/jobs/{job_id}",
        own_jobs=True,
        name="getJob",
        summary="A job as it stands.",
        parameters=(_JOB_ID,),
        answers={200: JobObject},
        headers={200: ("Retry-After",)},
    ),
    _operation(
        method="get",
        path="/v1/jobs/{job_id}/events",
        own_jobs=True,
        name="followJob",
        summary="A job as it goes on: an event whenever its counts, phase or status change.",
        parameters=(_JOB_ID, LAST_EVENT_ID),
        answers={200: EVENTS, 204: ()},
    ),
    _operation(
        method="get",
        path="/v1/jobs/{job_id}/result",
        own_jobs=True,
        name="getJobResult",
        summary="What a job would have answered at once.",
        parameters=(_JOB_ID,),
        answers={200: (ClassifyAnswer, TrainAnswer, EvaluateAnswer, BatchAnswer)},
        problems=(409,),
    ),
    _operation(
        method="get",
        path="/v1/jobs/{job_id}/plots/{file}",
        own_jobs=True,
        name="getJobPlot",
        summary="A drawing of an evaluation.",
        parameters=(_JOB_ID, _PLOT),
        answers={200: tuple(sorted(set(PLOTS.values())))},
    ),
    _operation(
        method="delete",
        path="/v1/jobs/{job_id}",
        own_jobs=True,
        name="cancelJob",
        summary="End a job; what runs stops at the next batch.",
        parameters=(_JOB_ID,),
        answers={202: JobObject},
        problems=(409,),
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    jobs, event_streams = services.jobs, services.event_streams
    inline_result_bytes = services.settings.inline_result_bytes
    routes = Blueprint("jobs", __name__)

    def view(root: str, status: JobStatus) -> dict[str, Any]:
        result = _small(_result(jobs, status.job, root), inline_result_bytes)
        return render_job(
            status.job,
            root=root,
            result=result,
            phase=status.phase,
            progress=status.progress,
            waiting_for=waiting_for(status.job),
        )

    def waiting_for(job: Job) -> str | None:
        name = model_of(job.queue)
        if not name or job.state not in {State.QUEUED, State.RUNNING}:
            return None
        try:
            model = services.catalogue.find(name)
        except ModelNotFound:
            return None
        return services.members.waiting_for(model)

    def visible(job_id: str) -> Job:
        """A job of the account: any with the scope `jobs`, else one that the key submitted.

        Raises:
            NotFound: The account has no such job.
            ScopeNotAllowed: The key may not see it.
        """
        caller = middleware.caller()
        job = jobs.get(caller.account, job_id)
        if job.key_id != caller.key_id:
            caller.require("jobs")
            caller.require_service("jobs")
        return job

    @routes.get("/v1/jobs")
    def listing() -> Response:
        after = pagination.after(ids.is_job_id, what="job")
        limit = pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)
        kind, status = filters.one_of("kind", JobKind), filters.one_of("status", State)
        metadata = filters.metadata()

        def wanted(job: Job) -> bool:
            return job.kind == (kind or job.kind) and (
                job.state == (status or job.state) and holds(job, metadata)
            )

        found = jobs.list(
            middleware.caller().account,
            after=after,
            limit=limit,
            wanted=wanted if kind or status or metadata else None,
        )
        return reply(
            render_jobs(
                found.jobs, root=middleware.root(), has_more=found.has_more, last_id=found.last_id
            )
        )

    @routes.get("/v1/jobs/<job_id>")
    def one(job_id: str) -> Response:
        job = visible(job_id)
        return reply(
            view(middleware.root(), jobs.status(job)),
            headers={} if job.state.terminal else {"Retry-After": "1"},
        )

    @routes.get("/v1/jobs/<job_id>/events")
    def follow(job_id: str) -> Response:
        events = of_jobs(jobs, partial(view, middleware.root()))
        return event_streams.respond(events, jobs.status(visible(job_id)))

    @routes.get("/v1/jobs/<job_id>/result")
    def result(job_id: str) -> Response:
        job = visible(job_id)
        found = jobs.result(job)
        request = jobs.submission(job)
        rendered = render(request.dialect, request.body, job.id, found, root=middleware.root())
        return reply(rendered.body, headers=rendered.headers)

    @routes.get("/v1/jobs/<job_id>/plots/<file>")
    def plot(job_id: str, file: str) -> Response:
        drawn = jobs.plot(visible(job_id), file)
        return Response(drawn, content_type=PLOTS[file])

    @routes.delete("/v1/jobs/<job_id>")
    def cancel(job_id: str) -> Response:
        cancelled = jobs.cancel(middleware.caller().account, visible(job_id).id)
        return reply(render_job(cancelled, root=middleware.root()), 202)

    return routes


def _result(jobs: JobService, job: Job, root: str) -> dict[str, Any] | None:
    """The rendered result of a job that has one."""
    if job.state is not State.SUCCEEDED:
        return None
    try:
        found, request = jobs.result(job), jobs.submission(job)
    except NotFound:
        return None  # the result expires before the record; its URL says so
    body: dict[str, Any] = render(request.dialect, request.body, job.id, found, root=root).body
    return body


def _small(rendered: dict[str, Any] | None, max_bytes: int) -> dict[str, Any] | None:
    return rendered if rendered and len(body.dump(rendered)) <= max_bytes else None
