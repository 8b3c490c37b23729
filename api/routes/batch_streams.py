"""/v1/batches/{id}/events and /output: the events and the output of a running batch, as streams."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import middleware
from api.http.event_stream import EVENTS
from api.http.sse import of_batches
from api.http.streaming_response import FILE_TYPE, streamed, streamed_file
from api.openapi.model import (
    BATCH_ID,
    DOWNLOAD_HEADERS,
    IF_RANGE,
    LAST_EVENT_ID,
    RANGE,
    Operation,
)
from shared.dialects import openai
from shared.errors import NotFound
from shared.media_types import JSONL

_operation = partial(Operation, tag="Batches", scope="classify", dialect=openai)

OPERATIONS = (
    _operation(
        method="get",
        path="/v1/batches/{batch_id}/events",
        name="followBatch",
        summary="A batch as it goes on: an event whenever its counts or its status change.",
        parameters=(BATCH_ID, LAST_EVENT_ID),
        answers={200: EVENTS, 204: ()},
    ),
    _operation(
        method="get",
        path="/v1/batches/{batch_id}/output",
        name="getBatchOutput",
        summary="What came out so far, as JSON lines; the output file once the batch has ended.",
        about="While the batch runs the lines come as they are, without ranges.",
        parameters=(BATCH_ID, RANGE, IF_RANGE),
        answers={200: (JSONL, FILE_TYPE), 206: FILE_TYPE, 304: ()},
        headers=DOWNLOAD_HEADERS,
        problems=(412, 416),
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    batches, event_streams = services.batches, services.event_streams
    events = of_batches(batches)
    routes = Blueprint("batch_streams", __name__)

    @routes.get("/v1/batches/<batch_id>/events")
    def follow(batch_id: str) -> Response:
        return event_streams.respond(events, batches.get(middleware.caller().account, batch_id))

    @routes.get("/v1/batches/<batch_id>/output")
    def output(batch_id: str) -> Response:
        standing = batches.get(middleware.caller().account, batch_id)
        with ExitStack() as held:
            held.enter_context(services.downloads.one())
            if not standing.job.state.terminal:
                return streamed(batches.finished(standing.job), held, mimetype=JSONL)
            if standing.result is None or standing.result.output_file is None:
                raise NotFound("no row of the batch came out")
            account, file_id = standing.job.account, standing.result.output_file
            return streamed_file(batches.files, account, file_id, held)

    return routes
