"""POST /v1/train: examples, in the body or in a file, make a classifier or make one better."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request

from api import door, prefer, upload
from api.idempotency import Idempotency
from api.jobs import Jobs
from api.prefer import Prefer
from api.resolve import Resolve
from api.routes import sent
from api.routes.durable import answer
from api.routes.once import MARGIN_S, once
from api.slots import Slots
from api.submit import Submit
from api.wire import body, train
from api.wire.train import Training
from shared.dialects.jina import NAME
from shared.messages import Body
from shared.settings import Settings


@dataclass(frozen=True, kw_only=True)
class _Train:
    """One train request, read and understood. It is a job, also where the caller waits for it."""

    submit: Submit
    jobs: Jobs
    resolve: Resolve
    said: Training
    prefer: Prefer
    timeout_s: float

    def respond(self, job_id: str | None) -> Response:
        """The answer that the caller prefers."""
        asked = self._accepted(job_id)
        if asked is None:
            asked = self.resolve.train(self.said, account=door.caller().account)
        job = self.submit.later(
            asked,
            caller=door.caller(),
            request_id=door.request_id(),
            dialect=NAME,
            job_id=job_id,
            waited_for=not self.prefer.respond_async,
        )
        return answer(
            job,
            asked,
            dialect=NAME,
            jobs=self.jobs,
            prefer=self.prefer,
            timeout_s=self.timeout_s,
        )

    def _accepted(self, job_id: str | None) -> Body | None:
        """What the same call has asked before: its classifier may be there by now."""
        if job_id is None:
            return None
        return self.jobs.accepted(door.caller().account, job_id)


def blueprint(
    *,
    submit: Submit,
    jobs: Jobs,
    resolve: Resolve,
    idempotency: Idempotency,
    slots: Slots,
    settings: Settings,
) -> Blueprint:
    """The route."""
    routes = Blueprint("train", __name__)
    timeout_s = settings.request_timeout_s

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("train")

    @routes.post("/v1/train")
    def learn() -> Response:
        with slots.one():
            data = sent.data(max_bytes=settings.max_body_bytes)
            found = upload.read(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            call = _Train(
                submit=submit,
                jobs=jobs,
                resolve=resolve,
                said=(
                    train.parse(body.parse(data))
                    if found is None
                    else train.parse_file(found.fields, found.file)
                ),
                prefer=prefer.read(request.headers.get("Prefer"), longest_wait_s=timeout_s),
                timeout_s=timeout_s,
            )
            payload = data if found is None else found.fingerprint
            return once(idempotency, payload, call.respond, reserve_s=timeout_s + MARGIN_S)

    return routes
