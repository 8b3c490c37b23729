"""/v1/batches/{id}/events and /output: a batch while it goes on, piece by piece."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Blueprint, Response

from api import door
from api.batches import Batches
from api.events import Events
from api.routes.events import Listening
from api.routes.streamed import streamed, streamed_file
from api.slots import Slots
from api.wire.openai.batch import Standing
from shared.errors import NotFound

LINES = "application/jsonl"


def blueprint(
    *, batches: Batches, events: Events[Standing], slots: Slots, listening: Listening
) -> Blueprint:
    """The routes."""
    routes = Blueprint("batch_streams", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("classify")

    @routes.get("/v1/batches/<batch_id>/events")
    def follow(batch_id: str) -> Response:
        return listening.answer(events, batches.get(door.caller().account, batch_id))

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
