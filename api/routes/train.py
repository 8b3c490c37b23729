"""POST /v1/train: examples, in the body or in a file, make a classifier or make one better."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api import door, upload
from api.resolve import Resolve
from api.routes import sent
from api.routes.durable import Durable
from api.slots import Slots
from api.wire import body
from api.wire.train import parse_file
from shared.dialects import train


def blueprint(
    *, durable: Durable, resolve: Resolve, slots: Slots, max_body_bytes: int
) -> Blueprint:
    """The route."""
    routes = Blueprint("train", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("train")

    @routes.post("/v1/train")
    def learn() -> Response:
        with slots.one():
            data = sent.data(max_bytes=max_body_bytes)
            found = upload.read(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            if found is None:
                payload, said = data, train.parse(body.parse(data))
            else:
                payload = found.fingerprint
                said = parse_file(found.fields, found.file, limits=resolve.limits)
            account = door.caller().account
            return durable.call(payload, lambda: resolve.train(said, account=account))

    return routes
