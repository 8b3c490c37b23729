"""POST /v1/classify/batch and /v1/tag/batch: several texts in one call of the Classer API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from flask import Blueprint, Response

from api.dependencies import Services
from api.http import json_body, middleware
from api.http.cache_headers import cache_headers
from api.http.json_response import reply
from api.http.model_header import model_header
from api.openapi.model import CACHED, Operation
from api.schemas import body
from shared.dialects import classer_response, classer_texts
from shared.dialects.classer_response import ClassifyTextsAnswer, TagTextsAnswer
from shared.dialects.classer_texts import ClassifyTextsBody, TagTextsBody
from shared.dialects.protocol import Rendered, own_fields
from shared.dialects.requested import UnresolvedRequest
from shared.types import ClassifyRequest, ClassifyResult
from shared.validation import refuse

Parse = Callable[..., UnresolvedRequest]
Render = Callable[[ClassifyRequest, ClassifyResult], Rendered]

_operation = partial(
    Operation,
    method="post",
    scope="classify",
    tag="Classify",
    headers={200: ("X-Tokens-Used", "X-Engine", *CACHED)},
    problems=(400, 402, 404, 504),
)
_TEXTS = ["The parcel never arrived.", "My card was charged twice."]
_ABOUT = (
    "The results have the order of the texts. A text that cannot be classified has an `error`, and "
    "costs nothing; the others are answered."
)

OPERATIONS = (
    _operation(
        path="/v1/classify/batch",
        name="classifyTexts",
        summary="Sort up to 1,000 texts into labels.",
        about=_ABOUT,
        body=ClassifyTextsBody,
        answers={200: ClassifyTextsAnswer},
        example={"texts": _TEXTS, "labels": ["delivery", "billing"]},
    ),
    _operation(
        path="/v1/tag/batch",
        name="tagTexts",
        summary="Find the labels that apply to each of up to 1,000 texts.",
        about=_ABOUT,
        body=TagTextsBody,
        answers={200: TagTextsAnswer},
        example={"texts": _TEXTS, "labels": ["delivery", "billing"], "threshold": 0.4},
    ),
)


def blueprint(services: Services) -> Blueprint:
    """The routes."""
    settings, submit, resolve = services.settings, services.submit, services.resolve
    routes = Blueprint("classify_texts", __name__)

    def answered(parse: Parse, render: Render) -> Response:
        with services.slots.one(), own_fields(classer_texts.own_error):
            sent = json_body.data(max_bytes=settings.max_body_bytes)
            data = body.parse(sent, schema_checks="texts")
            if not isinstance(data, dict):
                refuse("body", "must be a JSON object")
            parsed = parse(cast("dict[str, object]", data), default_model=services.default_model)
            request = resolve.classify(parsed, account=middleware.caller().account)
            result = submit.run_sync(
                request,
                caller=middleware.caller(),
                request_id=middleware.request_id(),
                timeout_s=settings.request_timeout_s,
                priority=parsed.priority,
            )
            assert isinstance(result, ClassifyResult)
            rendered = render(request, result)
            if request.classifier is not None:
                services.uses.count(request.classifier.account, request.classifier.classifier_id)
            model = model_header(request, resolve.catalogue, result)
            headers = {**rendered.headers, **cache_headers(result), **model}
            headers["X-Engine"] = request.engine or "embedding"
            return reply(rendered.body, headers=headers)

    @routes.post("/v1/classify/batch")
    def classify_texts() -> Response:
        return answered(classer_texts.parse_classify, classer_response.texts_classified)

    @routes.post("/v1/tag/batch")
    def tag_texts() -> Response:
        return answered(classer_texts.parse_tag, classer_response.texts_tagged)

    return routes
