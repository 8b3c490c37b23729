"""The response to a call that became a durable job: its result, or the job for polling.

A call that exceeds its wait gets 202 with the job. The same call without an `Idempotency-Key` gets
the same job (deduplication: `api.services.duplicate_calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from flask import Response, request

from api.http import error_handlers, middleware, prefer_header
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.http.prefer_header import Prefer
from api.schemas.job import render_job
from api.schemas.result import render
from api.services.duplicate_calls import DuplicateCalls
from api.services.idempotency import Idempotency, StoredAnswer, canonical
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from shared.dialects.native import NAME
from shared.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from shared.job_kinds import Body
from shared.jobs import Job, State
from shared.messages import error_of
from shared.types import JobResult

_GOES_ON = frozenset({202, 504})  # answers of a job that has not ended


@dataclass(frozen=True, kw_only=True)
class AsyncResponder:
    """Calls that are jobs, also where the caller waits for them. `timeout_s` bounds the wait."""

    submit: JobSubmission
    jobs: JobService
    idempotency: Idempotency
    timeout_s: float

    def call(
        self,
        payload: bytes,
        ask: Callable[[], Body],
        *,
        job_id: str | None = None,
        fleeting: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Response:
        """The answer that the caller prefers.

        Args:
            payload: What makes two calls the same, beside path and `Idempotency-Key`.
            ask: Makes the request. Not called where the same call was accepted before: what it
                checks may no longer hold, because of that call.
            job_id: The job to make where no `Idempotency-Key` says which.
            fleeting: Whether nothing stays of the job once its caller has the answer.
            metadata: What the caller gives the job to find it by.
        """
        account = middleware.caller().account
        preferred = prefer_header.read(request.headers.get("Prefer"), max_wait_s=self.timeout_s)

        def accepted(new_id: str | None, known: Body | None) -> tuple[Job, Body]:
            body = known or ask()
            job = self.submit.enqueue(
                body,
                caller=middleware.caller(),
                request_id=middleware.request_id(),
                dialect=NAME,
                job_id=new_id,
                waited_for=not preferred.respond_async,
                metadata=metadata,
            )
            return job, body

        def answered(job: Job, body: Body) -> Response:
            return answer(
                job,
                body,
                dialect=NAME,
                jobs=self.jobs,
                prefer=preferred,
                timeout_s=self.timeout_s,
                fleeting=fleeting,
            )

        def run(kept_job_id: str | None) -> Response:
            if kept_job_id:
                return answered(*accepted(kept_job_id, self.jobs.accepted(account, kept_job_id)))
            if fleeting:  # done twice it costs time, and changes nothing
                return answered(*accepted(job_id, None))
            equal = request.path.encode() + b"\n" + canonical(payload)
            call = self._duplicates.begin(middleware.caller(), equal, job_id=job_id)
            if call.job is not None:
                job, body = call.job, self.jobs.submission(call.job).body
            else:
                # Not the first of two equal calls at once: the other may have been accepted.
                known = None if call.first else self.jobs.accepted(account, call.job_id)
                job, body = accepted(call.job_id, known)
            ended = True
            try:
                response = answered(job, body)
                ended = response.status_code not in _GOES_ON
                return response
            finally:
                if ended or not preferred.respond_async:
                    self._duplicates.answered(call, ended=ended)

        return once(
            self.idempotency,
            payload,
            run,
            reserve_s=self.timeout_s + MARGIN_S,
            as_it_stands=lambda stored: job_as_it_stands(self.jobs, stored),
        )

    @property
    def _duplicates(self) -> DuplicateCalls:
        return DuplicateCalls(
            jobs=self.jobs,
            store=self.idempotency.store,
            keep_s=self.idempotency.keep_s,
            clock=self.submit.clock,
        )


def accepted_job(job: Job) -> Response:
    """The answer to a call that is always a job: 202, and where to poll it."""
    headers = {"Location": f"{middleware.root()}/v1/jobs/{job.id}", "Retry-After": "1"}
    return reply(render_job(job, root=middleware.root()), HTTPStatus.ACCEPTED, headers)


def job_as_it_stands(jobs: JobService, stored: StoredAnswer) -> Response | None:
    """The job that a stored 202 names, in its present state; None for other answers."""
    if stored.status != HTTPStatus.ACCEPTED:
        return None
    job_id = stored.headers.get("Location", "").rpartition("/")[2]
    try:
        job = jobs.get(middleware.caller().account, job_id)
        return reply(render_job(job, root=middleware.root()), HTTPStatus.ACCEPTED)
    except NotFound:  # its time is over
        return None


def answer(
    job: Job,
    body: Body,
    *,
    dialect: str,
    jobs: JobService,
    prefer: Prefer,
    timeout_s: float,
    fleeting: bool = False,
) -> Response:
    """Wait for the job as long as the caller prefers, and answer.

    A caller whose wait runs out gets 202 with the job, as one with `respond-async` does. Of a
    `fleeting` job it gets 504, which says where to poll: its client does not expect a job.

    Raises:
        PigeonholeError: What the job failed of.
        Conflict: It was cancelled, or has expired.
    """
    wait_s: float | None = prefer.wait_s
    if wait_s is None and not prefer.respond_async:
        wait_s = timeout_s
    job, result = _waited(job, jobs, wait_s)
    if fleeting and wait_s is not None and job.state.terminal:
        with suppress(Unavailable):  # then it expires, as others do
            jobs.drop(job)
    if wait_s is not None and job.error is not None:
        raise error_of(job.error)
    if wait_s is not None and job.state in {State.CANCELLED, State.EXPIRED}:
        raise Conflict(f"the job is {job.state}, so it has no result")
    headers = {"Preference-Applied": prefer.applied()} if prefer.applied() else {}
    if prefer.respond_async or result is None:
        headers["Location"] = f"{middleware.root()}/v1/jobs/{job.id}"
    if result is not None:
        rendered = render(dialect, body, job.id, result, root=middleware.root())
        return reply(rendered.body, headers={**rendered.headers, **headers})
    if prefer.respond_async or not fleeting:
        return reply(render_job(job, root=middleware.root()), 202, {**headers, "Retry-After": "1"})
    late = error_handlers.answer(
        DeadlineExceeded(
            f"no result within {wait_s:g} s, but the job continues: poll /v1/jobs/{job.id}, "
            "or send 'Prefer: respond-async' next time"
        )
    )
    late.headers.update(headers)
    return late


def _waited(job: Job, jobs: JobService, wait_s: float | None) -> tuple[Job, JobResult | None]:
    """The job after the wait, with its result if it has one by then."""
    if wait_s is None:
        return job, None
    try:
        job = jobs.wait(job, timeout_s=wait_s)
        return job, jobs.result(job) if job.state is State.SUCCEEDED else None
    except Unavailable:
        return job, None  # it is accepted, whatever happens to the waiting
