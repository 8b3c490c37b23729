"""The kept examples of a classifier: rebuild from them, or delete them."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.json_response import reply
from api.openapi.model import CLASSIFIER_ID, IDEMPOTENCY_KEY, PREFER, WAITED, Operation
from api.schemas import body
from api.schemas.classifier import ForgottenExamples, RebuildBody, parse_rebuild
from api.schemas.job import JobObject
from api.server.route_limits import small_body_bytes
from shared.classifier_requests import RebuildRequest
from shared.dialects.training import TrainAnswer
from shared.errors import Conflict

_operation = partial(Operation, tag="Classifiers", scope="train")

OPERATIONS = (
    _operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rebuild",
        name="rebuildClassifier",
        summary="Learn the examples that were kept anew, with this or another model.",
        body=RebuildBody,
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=WAITED,
        problems=(400,),
        example={"model": "all-MiniLM-L6-v2"},
    ),
    _operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}/examples",
        name="forgetExamples",
        summary="Delete the examples that were kept, and keep no more.",
        parameters=(CLASSIFIER_ID,),
        answers={200: ForgottenExamples},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    classifiers, catalogue = services.classifiers, services.catalogue
    durable, slots = services.durable, services.slots
    max_body_bytes = small_body_bytes(services.settings)
    routes = Blueprint("kept_examples", __name__)

    @routes.post("/v1/classifiers/<classifier_id>/rebuild")
    def rebuild(classifier_id: str) -> Response:
        with slots.one():
            data = json_body.data(max_bytes=max_body_bytes)
            parsed = parse_rebuild(body.parse(data))

            def ask() -> RebuildRequest:
                record = classifiers.whole(middleware.caller().account, classifier_id)
                model = catalogue.find_embedder(parsed.model).name
                if not classifiers.keeps_examples(record):
                    raise Conflict(
                        "no examples of the classifier are kept, so it cannot be rebuilt; train a "
                        "new one with 'keep_examples': true"
                    )
                return RebuildRequest(model=model, classifier_id=record.id)

            return durable.call(data, ask, metadata=parsed.metadata)

    @routes.delete("/v1/classifiers/<classifier_id>/examples")
    def forget(classifier_id: str) -> Response:
        deleted = classifiers.forget_examples(middleware.caller().account, classifier_id)
        return reply({"message": "no examples are kept", "deleted": deleted})

    return routes
