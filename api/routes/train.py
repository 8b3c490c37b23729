"""POST /v1/train: examples, in the body or in a file, make a classifier or make one better.

A file is stored and read by a worker, as that of a batch is.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.http import json_body, middleware
from api.http.async_response import AsyncResponder
from api.http.concurrency import ConcurrencyLimit
from api.http.form_file import UploadedForm
from api.http.form_file import read as read_upload
from api.http.stored_form_file import stored_upload
from api.schemas import body
from api.schemas.train import parse_file
from api.services.request_resolver import RequestResolver
from shared.dialects import training
from shared.ports import ObjectStore
from shared.types import TrainRequest


def blueprint(
    *,
    store: ObjectStore,
    durable: AsyncResponder,
    resolve: RequestResolver,
    slots: ConcurrencyLimit,
    max_body_bytes: int,
) -> Blueprint:
    """The route."""
    routes = Blueprint("train", __name__)

    @routes.before_request
    def check_scope() -> None:
        middleware.caller().require("train")

    @routes.post("/v1/train")
    def learn() -> Response:
        with slots.one():
            data = json_body.data(max_bytes=max_body_bytes)
            found = read_upload(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            account = middleware.caller().account
            if found is None:
                said = training.parse(body.parse(data))
                return durable.call(
                    data, lambda: resolve.train(said, account=account), metadata=said.metadata
                )
            return learn_file(found, account)

    def learn_file(found: UploadedForm, account: str) -> Response:
        parse_file(found.fields, found.file, place="")  # before it is stored
        now = durable.submit.clock()
        with stored_upload(store, found.file.data, account=account, now=now) as upload:
            said = parse_file(found.fields, found.file, place=upload.place)

            def ask() -> TrainRequest:
                request = resolve.train(said, account=account)
                upload.taken = True
                return request

            return durable.call(
                found.fingerprint, ask, job_id=upload.job_id, metadata=said.metadata
            )

    return routes
