"""The examples that a classifier keeps: it is rebuilt from them, or they are forgotten."""

from __future__ import annotations

from flask import Blueprint, Response

from api import door
from api.classifiers import Classifiers
from api.routes import sent
from api.routes.durable import Durable
from api.routes.reply import reply
from api.slots import Slots
from api.wire import body
from api.wire.classifier import parse_rebuild
from shared.catalogue import Catalogue
from shared.errors import Conflict
from shared.types import RebuildRequest


def blueprint(
    *,
    classifiers: Classifiers,
    catalogue: Catalogue,
    durable: Durable,
    slots: Slots,
    max_body_bytes: int,
) -> Blueprint:
    """The routes."""
    routes = Blueprint("kept_examples", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("train")

    @routes.post("/v1/classifiers/<classifier_id>/rebuild")
    def rebuild(classifier_id: str) -> Response:
        with slots.one():
            data = sent.data(max_bytes=max_body_bytes)
            said = parse_rebuild(body.parse(data))

            def ask() -> RebuildRequest:
                record = classifiers.whole(door.caller().account, classifier_id)
                model = catalogue.find(said.model).name
                if not classifiers.keeps_examples(record):
                    raise Conflict(
                        "no examples of the classifier are kept, so it cannot be rebuilt; train a "
                        "new one with 'keep_examples': true"
                    )
                return RebuildRequest(model=model, classifier_id=record.id)

            return durable.call(data, ask, metadata=said.metadata)

    @routes.delete("/v1/classifiers/<classifier_id>/examples")
    def forget(classifier_id: str) -> Response:
        deleted = classifiers.forget_examples(door.caller().account, classifier_id)
        return reply({"message": "no examples are kept", "deleted": deleted})

    return routes
