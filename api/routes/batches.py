"""/v1/batches: files to be worked through. Made, looked at, listed, ended."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api import door
from api.batches import Batches
from api.idempotency import Idempotency
from api.routes import page, sent
from api.routes.once import MARGIN_S, once
from api.routes.reply import reply
from api.wire import body
from api.wire.openai.batch import render_batch
from api.wire.openai.file import render_page
from api.wire.openai.new_batch import parse
from shared import ids
from shared.batches import BatchRequest
from shared.dialects.refusal import refuse

_DEFAULT_LIMIT = 20
_MOST_LISTED = 100


def blueprint(
    *, batches: Batches, idempotency: Idempotency, max_body_bytes: int, most_window_s: float
) -> Blueprint:
    """The routes."""
    routes = Blueprint("batches", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("classify")

    @routes.post("/v1/batches")
    def create() -> Response:
        if "dry_run" in request.args:
            refuse("dry_run", "is not available in this version; nothing was started")
        data = sent.data(max_bytes=max_body_bytes)
        said = parse(body.parse(data), most_window_s=most_window_s)
        caller = door.caller()

        def run(job_id: str | None) -> Response:
            kept = batches.jobs.accepted(caller.account, job_id) if job_id else None
            asked = kept if isinstance(kept, BatchRequest) else batches.asked(caller.account, said)
            standing = batches.create(
                asked, caller=caller, request_id=door.request_id(), job_id=job_id
            )
            return reply(render_batch(standing))

        return once(idempotency, data, run, reserve_s=MARGIN_S)

    @routes.get("/v1/batches")
    def listing() -> Response:
        after = page.after(lambda said: ids.is_job_id(ids.job_id_of(said)), what="batch")
        limit = page.limit(default=_DEFAULT_LIMIT, most=_MOST_LISTED)
        listed, has_more = batches.list(door.caller().account, after=after, limit=limit)
        return reply(render_page([render_batch(each) for each in listed], has_more=has_more))

    @routes.get("/v1/batches/<batch_id>")
    def one(batch_id: str) -> Response:
        return reply(render_batch(batches.get(door.caller().account, batch_id)))

    @routes.post("/v1/batches/<batch_id>/cancel")
    def cancel(batch_id: str) -> Response:
        return reply(render_batch(batches.cancel(door.caller().account, batch_id)))

    return routes
