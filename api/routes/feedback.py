"""/v1/classifiers/{classifier_id}/feedback: store, list and delete true labels of items."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware, pagination
from api.http.json_response import reply
from api.openapi.model import CLASSIFIER_ID, TEXT, Operation, Parameter, limit
from api.schemas import body
from api.schemas.feedback import (
    FeedbackAccepted,
    FeedbackAccuracy,
    FeedbackBody,
    FeedbackDeleted,
    FeedbackList,
    parse_feedback,
    parse_version_day,
    render_accuracy,
    render_feedback,
)

_DEFAULT_LIMIT = 100
_MAX_LISTED = 1000
_PATH = "/v1/classifiers/{classifier_id}/feedback"
_AFTER = Parameter(
    name="after", where="query", about="The `last_id` of the page before.", schema=TEXT
)
_ID = Parameter(
    name="id", where="query", about="Of one item; all feedback is deleted if absent.", schema=TEXT
)
_operation = partial(Operation, tag="Retraining", scope="train", path=_PATH)

OPERATIONS = (
    _operation(
        method="post",
        name="sendFeedback",
        summary="Tell the true labels of items that a classifier has classified.",
        about="Stored for classifiers that keep examples or are retrained from feedback.",
        body=FeedbackBody,
        parameters=(CLASSIFIER_ID,),
        answers={201: FeedbackAccepted},
        problems=(409,),
        example={"items": [{"input": "Where is my parcel?", "label": "delivery"}]},
    ),
    _operation(
        method="get",
        name="listFeedback",
        summary="The stored feedback.",
        parameters=(CLASSIFIER_ID, _AFTER, limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)),
        answers={200: FeedbackList},
    ),
    _operation(
        method="get",
        path=f"{_PATH}/accuracy",
        name="getFeedbackAccuracy",
        summary="The live accuracy by version and day, from feedback.",
        about="Counts feedback with `predicted` and `version`, on right and wrong predictions.",
        parameters=(CLASSIFIER_ID, _AFTER, limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED)),
        answers={200: FeedbackAccuracy},
    ),
    _operation(
        method="delete",
        name="deleteFeedback",
        summary="Delete one item of feedback, or all of them.",
        parameters=(CLASSIFIER_ID, _ID),
        answers={200: FeedbackDeleted},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    feedback = services.feedback
    routes = Blueprint("feedback", __name__)

    @routes.post("/v1/classifiers/<classifier_id>/feedback")
    def send(classifier_id: str) -> Response:
        data = json_body.data(max_bytes=services.settings.max_body_bytes)
        now = datetime.fromtimestamp(services.submit.clock(), UTC)
        items = parse_feedback(body.parse(data), now=now)
        feedback.add(middleware.caller().account, classifier_id, items)
        return reply({"object": "list", "ids": [each.id for each in items]}, 201)

    @routes.get("/v1/classifiers/<classifier_id>/feedback")
    def listing(classifier_id: str) -> Response:
        items, has_more = feedback.list(
            middleware.caller().account,
            classifier_id,
            after=request.args.get("after", ""),
            limit=pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED),
        )
        return reply(render_feedback(items, has_more=has_more))

    @routes.get("/v1/classifiers/<classifier_id>/feedback/accuracy")
    def accuracy(classifier_id: str) -> Response:
        days, has_more = feedback.accuracy(
            middleware.caller().account,
            classifier_id,
            after=parse_version_day(request.args.get("after")),
            limit=pagination.limit(default=_DEFAULT_LIMIT, most=_MAX_LISTED),
        )
        return reply(render_accuracy(days, has_more=has_more))

    @routes.delete("/v1/classifiers/<classifier_id>/feedback")
    def delete(classifier_id: str) -> Response:
        deleted = feedback.delete(
            middleware.caller().account, classifier_id, request.args.get("id")
        )
        return reply({"message": "the feedback is deleted", "deleted": deleted})

    return routes
