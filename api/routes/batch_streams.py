"""/v1/batches/{id}/events and /output: a batch while it goes on, piece by piece."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Blueprint, Response

from api.http import middleware
from api.http.concurrency import ConcurrencyLimit
from api.http.event_stream import ListenerSlots
from api.http.sse import EventFollower
from api.http.streaming_response import streamed, streamed_file
from api.schemas.openai.batch import BatchStatus
from api.services.batches import Batches
from shared.errors import NotFound
from shared.media_types import JSONL


def blueprint(
    *,
    batches: Batches,
    events: EventFollower[BatchStatus],
    slots: ConcurrencyLimit,
    listening: ListenerSlots,
) -> Blueprint:
    """The routes."""
    routes = Blueprint("batch_streams", __name__)

    @routes.before_request
    def check_scope() -> None:
        middleware.caller().require("classify")

    @routes.get("/v1/batches/<batch_id>/events")
    def follow(batch_id: str) -> Response:
        return listening.answer(events, batches.get(middleware.caller().account, batch_id))

    @routes.get("/v1/batches/<batch_id>/output")
    def output(batch_id: str) -> Response:
        standing = batches.get(middleware.caller().account, batch_id)
        with ExitStack() as held:
            held.enter_context(slots.one())
            if not standing.job.state.terminal:
                return streamed(batches.finished(standing.job), held, mimetype=JSONL)
            if standing.result is None or standing.result.output_file is None:
                raise NotFound("no row of the batch came out")
            account, file_id = standing.job.account, standing.result.output_file
            return streamed_file(batches.files, account, file_id, held)

    return routes
