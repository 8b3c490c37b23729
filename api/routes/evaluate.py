"""POST /v1/classifiers/{classifier_id}/evaluate: the metrics of a version on labelled examples.

A file is stored and read by a worker, as that of a batch is.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.form_file import UploadedForm
from api.http.form_file import read as read_upload
from api.http.stored_form_file import stored_upload
from api.openapi import examples
from api.openapi.model import (
    CLASSIFIER_ID,
    IDEMPOTENCY_KEY,
    PREFER,
    WAITED,
    Operation,
    file_of_examples,
)
from api.schemas import body, evaluation
from api.schemas.evaluation import EvaluateAnswer, EvaluateCallBody, EvaluateFileBody, Evaluation
from api.schemas.example_file import names_stored
from api.schemas.job import JobObject
from api.services.classifiers import ClassifierService
from api.services.request_resolver import RequestResolver
from shared.limits import Limits
from shared.types import EvaluateRequest

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/evaluate",
        scope="train",
        tag="Classifiers",
        name="evaluateClassifier",
        summary="How good a version is on labelled examples.",
        body=EvaluateCallBody,
        **file_of_examples(EvaluateFileBody),
        parameters=(CLASSIFIER_ID, PREFER, IDEMPOTENCY_KEY),
        answers={200: EvaluateAnswer, 202: JobObject},
        headers=WAITED,
        problems=(400,),
        example={"input": examples.EVALUATE},
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Evaluate:
    """One evaluate request, read and understood."""

    classifiers: ClassifierService
    limits: Limits
    resolve: RequestResolver
    evaluation: Evaluation
    ref: str

    def ask(self) -> EvaluateRequest:
        """The request.

        Raises:
            NotFound: The caller has no such classifier, or it has no such version.
            InvalidRequest: There are too many examples, or one is wrong.
        """
        record, version = self.classifiers.own(middleware.caller().account, self.ref)
        job_request = EvaluateRequest(
            model=version.model,
            classifier=record.weights(version),
            examples=self.evaluation.examples,
            file=self.evaluation.file,
        )
        if job_request.file is not None:  # the worker that reads it looks at the examples
            if not job_request.file.kept:
                return job_request
            account = middleware.caller().account
            file = self.resolve.stored_examples(job_request.file, account=account)
            return job_request.model_copy(update={"file": file})
        self.limits.check_evaluation(job_request)
        examples = self.resolve.examples(
            job_request.examples, model=version.model, account=middleware.caller().account
        )
        return job_request.model_copy(update={"examples": examples})


def blueprint(services: Services) -> Blueprint:
    """The route."""
    store, durable, slots = services.store, services.durable, services.slots
    max_body_bytes = services.settings.max_body_bytes
    routes = Blueprint("evaluate", __name__)

    @routes.post("/v1/classifiers/<classifier_id>/evaluate")
    def evaluate(classifier_id: str) -> Response:
        with slots.one():
            data = json_body.data(max_bytes=max_body_bytes)
            found = read_upload(
                data, content_type=request.headers.get("Content-Type", ""), query=request.args
            )
            if found is not None:
                return evaluate_file(found, classifier_id)
            parsed = body.parse(data)
            parse = evaluation.parse_stored if names_stored(parsed) else evaluation.parse
            call = evaluate_call(parse(parsed), classifier_id)
            return durable.call(data, call.ask, metadata=call.evaluation.metadata)

    def evaluate_file(found: UploadedForm, classifier_id: str) -> Response:
        evaluation.parse_file(found.fields, found.file, place="")  # before it is stored
        account, now = middleware.caller().account, durable.submit.clock()
        with stored_upload(store, found.file.data, account=account, now=now) as upload:
            fields = evaluation.parse_file(found.fields, found.file, place=upload.place)

            def ask() -> EvaluateRequest:
                request = evaluate_call(fields, classifier_id).ask()
                upload.taken = True
                return request

            return durable.call(
                found.fingerprint, ask, job_id=upload.job_id, metadata=fields.metadata
            )

    def evaluate_call(fields: Evaluation, classifier_id: str) -> _Evaluate:
        return _Evaluate(
            classifiers=services.classifiers,
            limits=services.submit.limits,
            resolve=services.resolve,
            evaluation=fields,
            ref=classifier_id,
        )

    return routes
