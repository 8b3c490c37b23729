"""POST /v1/train: creates or updates a classifier from examples in the body or in a file.

A file is stored and read by a worker, as that of a batch is.
"""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.form_file import UploadedForm
from api.http.form_file import read as read_upload
from api.http.stored_form_file import stored_upload
from api.openapi import examples
from api.openapi.model import IDEMPOTENCY_KEY, PREFER, WAITED, Operation, file_of_examples
from api.schemas import body
from api.schemas.example_file import names_stored
from api.schemas.job import JobObject
from api.schemas.train import TrainBody, TrainFileBody, parse_file, parse_stored
from shared.dialects import training
from shared.dialects.training import TrainAnswer, UnresolvedTrainRequest
from shared.types import TrainRequest

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/train",
        scope="train",
        tag="Train",
        name="train",
        summary="Make a classifier from examples, or train one further.",
        body=TrainBody,
        **file_of_examples(TrainFileBody),
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=WAITED,
        problems=(400, 404),
        example={"name": examples.CLASSIFIER, "input": examples.TRAIN, "keep_examples": True},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The route."""
    store, durable, resolve = services.store, services.durable, services.resolve
    slots, max_body_bytes = services.slots, services.settings.max_body_bytes
    routes = Blueprint("train", __name__)

    @routes.post("/v1/train")
    def learn() -> Response:
        with slots.one():
            data = json_body.data(max_bytes=max_body_bytes)
            found = read_upload(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            account = middleware.caller().account
            if found is None:
                parsed = body.parse(data)
                if names_stored(parsed):
                    return learn_stored(data, parse_stored(parsed), account)
                fields = training.parse(parsed)
                return durable.call(
                    data, lambda: resolve.train(fields, account=account), metadata=fields.metadata
                )
            return learn_file(found, account)

    def learn_stored(data: bytes, fields: UnresolvedTrainRequest, account: str) -> Response:
        def ask() -> TrainRequest:
            assert fields.file is not None
            file = resolve.stored_examples(fields.file, account=account)
            return resolve.train(replace(fields, file=file), account=account)

        return durable.call(data, ask, metadata=fields.metadata)

    def learn_file(found: UploadedForm, account: str) -> Response:
        parse_file(found.fields, found.file, place="")  # before it is stored
        now = durable.submit.clock()
        with stored_upload(store, found.file.data, account=account, now=now) as upload:
            fields = parse_file(found.fields, found.file, place=upload.place)

            def ask() -> TrainRequest:
                request = resolve.train(fields, account=account)
                upload.taken = True
                return request

            return durable.call(
                found.fingerprint, ask, job_id=upload.job_id, metadata=fields.metadata
            )

    return routes
