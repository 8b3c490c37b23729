"""/v1/batch: batches of texts in the format of the Classer API, with signed URLs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.json_response import reply
from api.http.multipart import MAX_FORM_BYTES, MULTIPART, FormFile
from api.http.streaming_response import streamed
from api.openapi.model import TEXT, Operation, Parameter, path_id
from api.schemas import body
from api.schemas.text_batch import (
    DeletedTextBatch,
    NewTextBatch,
    NewTextBatchBody,
    StartedTextBatch,
    TextBatchList,
    TextBatchObject,
    TextBatchResults,
    UploadTextsBody,
    parse_new,
)
from api.server.route_limits import batch_body_bytes
from api.services.text_batches import TextBatch, TextBatches
from shared.dialects.classer_request import own_error
from shared.dialects.protocol import own_fields
from shared.errors import PigeonholeError
from shared.media_types import JSONL

_BATCH_ID = path_id("text_batch_id", "The `job_id` of a batch of texts.")
_ACCOUNT = path_id("account", "A part of the URL, as it was given.")
_SIGNED = tuple(
    Parameter(name=name, where="query", about="A part of the URL, as it was given.", schema=TEXT)
    for name in ("expires", "signature")
)
_operation = partial(Operation, tag="Batches", scope="classify")

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/batch",
        name="createTextBatch",
        summary="Begin a batch of texts: upload them as a form, then start it.",
        body=NewTextBatchBody,
        answers={201: NewTextBatch},
        problems=(400, 404),
        example={"labels": ["delivery", "billing"], "mode": "multi", "threshold": 0.4},
    ),
    _operation(
        method="get",
        path="/v1/batch",
        name="listTextBatches",
        summary="The 20 newest batches of texts.",
        answers={200: TextBatchList},
    ),
    _operation(
        method="post",
        path="/v1/batch/{text_batch_id}/start",
        name="startTextBatch",
        summary="Work on the texts of a pending batch, or of a failed one again.",
        parameters=(_BATCH_ID,),
        answers={202: StartedTextBatch},
        problems=(402, 409),
    ),
    _operation(
        method="get",
        path="/v1/batch/{text_batch_id}",
        name="getTextBatch",
        summary="A batch of texts as it stands.",
        parameters=(_BATCH_ID,),
        answers={200: TextBatchObject},
    ),
    _operation(
        method="get",
        path="/v1/batch/{text_batch_id}/results",
        name="getTextBatchResults",
        summary="Where the results of a completed batch are.",
        parameters=(_BATCH_ID,),
        answers={200: TextBatchResults},
        problems=(409,),
    ),
    _operation(
        method="delete",
        path="/v1/batch/{text_batch_id}",
        name="deleteTextBatch",
        summary="Delete a batch of texts with its input and its results, unless it is processing.",
        parameters=(_BATCH_ID,),
        answers={200: DeletedTextBatch},
        problems=(409,),
    ),
    Operation(
        method="post",
        path="/batch/{account}/{text_batch_id}/input",
        tag="Batches",
        name="uploadTexts",
        summary="Send the texts of a batch to its `upload_url`.",
        uploads={MULTIPART: UploadTextsBody},
        parameters=(_ACCOUNT, _BATCH_ID, *_SIGNED),
        answers={204: ()},
        problems=(409, 503),
        needs_key=False,
        example={"file": '{"text": "The parcel never arrived."}\n'},
    ),
    Operation(
        method="get",
        path="/batch/{account}/{text_batch_id}/results",
        tag="Batches",
        name="downloadTextBatchResults",
        summary="The results of a batch, by its `download_url`.",
        parameters=(_ACCOUNT, _BATCH_ID, *_SIGNED),
        answers={200: JSONL},
        problems=(409, 429, 503),
        needs_key=False,
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    batches = TextBatches(batches=services.batches, max_file_bytes=services.settings.max_file_bytes)
    max_body_bytes = batch_body_bytes(services.settings)
    routes = Blueprint("text_batches", __name__)

    @routes.post("/v1/batch")
    def create() -> Response:
        account = middleware.caller().account
        with own_fields(own_error):
            parsed = parse_new(body.parse(json_body.data(max_bytes=max_body_bytes)))
            record = batches.create(account, parsed)
        form = batches.presigned(account, record)
        if form is None:
            form = _url(batches, account, record, "input"), {"key": record.file_id}
        answer = {
            "job_id": record.id,
            "upload_url": form[0],
            "upload_fields": form[1],
            "input_key": form[1]["key"],
        }
        return reply(answer, 201)

    @routes.get("/v1/batch")
    def listing() -> Response:
        return reply([each.render() for each in batches.list(middleware.caller().account)])

    @routes.post("/v1/batch/<text_batch_id>/start")
    def start(text_batch_id: str) -> Response:
        with own_fields(own_error):
            batches.start(middleware.caller(), text_batch_id, request_id=middleware.request_id())
        return reply({"job_id": text_batch_id, "status": "processing"}, 202)

    @routes.get("/v1/batch/<text_batch_id>")
    def one(text_batch_id: str) -> Response:
        return reply(batches.get(middleware.caller().account, text_batch_id).render())

    @routes.get("/v1/batch/<text_batch_id>/results")
    def results(text_batch_id: str) -> Response:
        account = middleware.caller().account
        record = batches.record(account, text_batch_id)
        batches.results(account, record)
        url = _url(batches, account, record, "results")
        return reply({"job_id": text_batch_id, "download_url": url})

    @routes.delete("/v1/batch/<text_batch_id>")
    def delete(text_batch_id: str) -> Response:
        batches.delete(middleware.caller().account, text_batch_id)
        return reply({"job_id": text_batch_id, "deleted": True})

    def signed(account: str, text_batch_id: str, use: str) -> TextBatch:
        return batches.signed_for(
            account,
            text_batch_id,
            use,
            expires=request.args.get("expires", ""),
            signature=request.args.get("signature", ""),
        )

    @routes.post("/batch/<account>/<text_batch_id>/input")
    def upload(account: str, text_batch_id: str) -> Response:
        with services.slots.one():
            sent = json_body.stream(max_bytes=batches.max_file_bytes + MAX_FORM_BYTES)
            try:
                record = signed(account, text_batch_id, "input")
                form = FormFile(
                    sent,
                    content_type=request.content_type or "",
                    max_bytes=batches.max_file_bytes,
                )
                form.find()
                batches.receive(account, record, form)
                form.finish()
            except PigeonholeError:
                sent.drain()
                raise
        return Response(status=204)

    @routes.get("/batch/<account>/<text_batch_id>/results")
    def download(account: str, text_batch_id: str) -> Response:
        with ExitStack() as held:
            held.enter_context(services.downloads.one())
            lines = batches.results(account, signed(account, text_batch_id, "results"))
            return streamed(lines, held, mimetype=JSONL)

    return routes


def _url(batches: TextBatches, account: str, record: TextBatch, use: str) -> str:
    """A URL of ours that needs no key."""
    path = f"{middleware.root()}/batch/{quote(account, safe='')}/{record.id}/{use}"
    return f"{request.host_url.rstrip('/')}{path}?{urlencode(batches.signed(record, use))}"
