"""The examples that a classifier keeps: it is rebuilt from them, or they are forgotten."""

from __future__ import annotations

from flask import Blueprint, Response

from api.http import json_body, middleware
from api.http.async_response import AsyncResponder
from api.http.concurrency import ConcurrencyLimit
from api.http.json_response import reply
from api.schemas import body
from api.schemas.classifier import parse_rebuild
from api.services.classifiers import ClassifierService
from shared.errors import Conflict
from shared.model_catalogue import Catalogue
from shared.types import RebuildRequest


def blueprint(
    *,
    classifiers: ClassifierService,
    catalogue: Catalogue,
    durable: AsyncResponder,
    slots: ConcurrencyLimit,
    max_body_bytes: int,
) -> Blueprint:
    """The routes."""
    routes = Blueprint("kept_examples", __name__)

    @routes.before_request
    def check_scope() -> None:
        middleware.caller().require("train")

    @routes.post("/v1/classifiers/<classifier_id>/rebuild")
    def rebuild(classifier_id: str) -> Response:
        with slots.one():
            data = json_body.data(max_bytes=max_body_bytes)
            said = parse_rebuild(body.parse(data))

            def ask() -> RebuildRequest:
                record = classifiers.whole(middleware.caller().account, classifier_id)
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
        deleted = classifiers.forget_examples(middleware.caller().account, classifier_id)
        return reply({"message": "no examples are kept", "deleted": deleted})

    return routes
