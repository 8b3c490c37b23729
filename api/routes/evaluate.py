"""POST /v1/classifiers/{classifier_id}/evaluate: how good a version is on labelled examples."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request

from api import door, upload
from api.classifiers import Classifiers
from api.resolve import Resolve
from api.routes import sent
from api.routes.durable import Durable
from api.slots import Slots
from api.wire import body, evaluation
from api.wire.evaluation import Evaluation
from shared.limits import Limits
from shared.types import EvaluateRequest


@dataclass(frozen=True, kw_only=True)
class _Evaluate:
    """One evaluate request, read and understood."""

    classifiers: Classifiers
    limits: Limits
    resolve: Resolve
    said: Evaluation
    ref: str

    def ask(self) -> EvaluateRequest:
        """The request.

        Raises:
            NotFound: The caller has no such classifier, or it has no such version.
            InvalidRequest: There are too many examples, or one is wrong.
        """
        record, version = self.classifiers.own(door.caller().account, self.ref)
        asked = EvaluateRequest(
            model=version.model,
            classifier=record.weights(version),
            examples=self.said.examples,
        )
        self.limits.check_evaluation(asked, place=self.said.place)
        examples = self.resolve.examples(
            asked.examples, model=version.model, account=door.caller().account
        )
        return asked.model_copy(update={"examples": examples})


def blueprint(
    *,
    classifiers: Classifiers,
    limits: Limits,
    resolve: Resolve,
    durable: Durable,
    slots: Slots,
    max_body_bytes: int,
) -> Blueprint:
    """The route."""
    routes = Blueprint("evaluate", __name__)

    @routes.before_request
    def check_scope() -> None:
        door.caller().require("train")

    @routes.post("/v1/classifiers/<classifier_id>/evaluate")
    def evaluate(classifier_id: str) -> Response:
        with slots.one():
            data = sent.data(max_bytes=max_body_bytes)
            file = upload.read(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            call = _Evaluate(
                classifiers=classifiers,
                limits=limits,
                resolve=resolve,
                said=(
                    evaluation.parse(body.parse(data))
                    if file is None
                    else evaluation.parse_file(file.fields, file.file)
                ),
                ref=classifier_id,
            )
            return durable.call(data if file is None else file.fingerprint, call.ask)

    return routes
