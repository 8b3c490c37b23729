"""POST /v1/classify: the answer now, or a job to be polled, as the caller prefers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flask import Blueprint, Response, request

from api import door, prefer
from api.idempotency import Idempotency
from api.jobs import Jobs
from api.prefer import Prefer
from api.routes.once import once
from api.routes.reply import reply
from api.submit import Submit
from api.wire import body
from api.wire.job import render_job
from api.wire.pick import Dialect, pick
from shared.errors import TooBusy, Unavailable
from shared.jobs import Job, State
from shared.messages import error_of
from shared.settings import Settings
from shared.types import ClassifyRequest, ClassifyResult

RESERVED_THREADS = 16  # never given to classify calls: health, polling and metrics always get one
_MARGIN_S = 30.0  # what reading and rendering may add to the wait


@dataclass(frozen=True, kw_only=True)
class _Classify:
    """One classify request, read and understood."""

    submit: Submit
    jobs: Jobs
    dialect: Dialect
    asked: ClassifyRequest
    prefer: Prefer
    timeout_s: float

    def respond(self, job_id: str | None) -> Response:
        """The answer that the caller prefers."""
        return self._later(job_id) if self.prefer.respond_async else self._now()

    def _now(self) -> Response:
        result = self.submit.now(
            self.asked,
            caller=door.caller(),
            request_id=door.request_id(),
            timeout_s=self.prefer.wait_s or self.timeout_s,
        )
        applied = {"Preference-Applied": self.prefer.applied()} if self.prefer.wait_s else None
        return reply(self.dialect.render(self.asked, result), headers=applied)

    def _later(self, job_id: str | None) -> Response:
        job = self.submit.later(
            self.asked,
            caller=door.caller(),
            request_id=door.request_id(),
            dialect=self.dialect.NAME,
            job_id=job_id,
        )
        job, result = self._waited(job)
        if job.error is not None and self.prefer.wait_s is not None:
            raise error_of(job.error)
        applied = {"Preference-Applied": self.prefer.applied()}
        if result is not None:
            return reply(self.dialect.render(self.asked, result), headers=applied)
        headers = {**applied, "Location": f"/v1/jobs/{job.id}", "Retry-After": "1"}
        return reply(render_job(job), 202, headers)

    def _waited(self, job: Job) -> tuple[Job, ClassifyResult | None]:
        """The job after the wait, with its result if it has one by then."""
        if self.prefer.wait_s is None:
            return job, None
        try:
            job = self.jobs.wait(job, timeout_s=self.prefer.wait_s)
            return job, self.jobs.result(job) if job.state is State.SUCCEEDED else None
        except Unavailable:
            return job, None  # it is accepted, whatever happens to the waiting


def blueprint(
    *,
    submit: Submit,
    jobs: Jobs,
    idempotency: Idempotency,
    default_model: str,
    settings: Settings,
) -> Blueprint:
    """The route."""
    routes = Blueprint("classify", __name__)
    slots = _Slots(settings.api_threads - RESERVED_THREADS)
    timeout_s = settings.request_timeout_s

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("classify")

    @routes.post("/v1/classify")
    def classify() -> Response:
        with slots.one():
            data = body.read(
                request.stream,  # type: ignore[arg-type]  # werkzeug says IO[bytes]
                length=request.content_length,
                max_bytes=settings.max_body_bytes,
                awaits_continue="Expect" in request.headers,
            )
            dialect, said = pick(body.parse(data))
            call = _Classify(
                submit=submit,
                jobs=jobs,
                dialect=dialect,
                asked=dialect.parse(said, default_model=default_model),
                prefer=prefer.read(request.headers.get("Prefer"), longest_wait_s=timeout_s),
                timeout_s=timeout_s,
            )
            return once(idempotency, data, call.respond, reserve_s=timeout_s + _MARGIN_S)

    return routes


class _Slots:
    """How many classify calls run at once in this process; one more is refused, not queued."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            TooBusy: All are held.
        """
        if not self._free.acquire(blocking=False):
            raise TooBusy(
                f"{self._count} calls are being answered; try again shortly", retry_after_s=1
            )
        try:
            yield
        finally:
            self._free.release()
