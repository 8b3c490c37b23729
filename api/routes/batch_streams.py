"""/v1/batches/{id}/events and /output: a batch while it goes on, piece by piece."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Blueprint, Response, request

from api import door
from api.batch_events import BatchEvents
from api.batches import Batches
from api.routes.streamed import streamed, streamed_file
from api.slots import Slots
from shared.errors import NotFound

EVENTS = "text/event-stream"
LINES = "application/jsonl"


def blueprint(
    *, batches: Batches, events: BatchEvents, slots: Slots, listeners: Slots
) -> Blueprint:
    """The routes. Who listens holds a slot, and one of the fewer for `listeners`."""
    routes = Blueprint("batch_streams", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("classify")

    @routes.get("/v1/batches/<batch_id>/events")
    def follow(batch_id: str) -> Response:
        standing = batches.get(door.caller().account, batch_id)
        seen = request.headers.get("Last-Event-ID", "")
        if standing.job.state.terminal and standing.mark == seen:
            return Response(status=204)  # a client that is told so does not come back
        with ExitStack() as held:
            held.enter_context(listeners.one())
            held.enter_context(slots.one())
            answer = streamed(events.follow(standing, seen=seen), held, mimetype=EVENTS)
            answer.headers["Cache-Control"] = "no-cache"
            answer.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
            return answer

    @routes.get("/v1/batches/<batch_id>/output")
    def output(batch_id: str) -> Response:
        standing = batches.get(door.caller().account, batch_id)
        with ExitStack() as held:
            held.enter_context(slots.one())
            if not standing.job.state.terminal:
                return streamed(batches.finished(standing.job), held, mimetype=LINES)
            if standing.result is None or standing.result.output_file is None:
                raise NotFound("no row of the batch came out")
            account, file_id = standing.job.account, standing.result.output_file
            return streamed_file(batches.files, account, file_id, held)

    return routes
