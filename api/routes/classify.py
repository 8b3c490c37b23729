"""POST /v1/classify: the result, or 202 with a job if the client prefers it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, request

from api.dependencies import Services
from api.http import json_body, middleware, prefer_header
from api.http.async_response import answer, job_as_it_stands
from api.http.cache_headers import cache_headers
from api.http.idempotent import MARGIN_S, once
from api.http.json_response import reply
from api.http.model_header import model_header
from api.http.prefer_header import Prefer
from api.openapi.model import CACHED, IDEMPOTENCY_KEY, PREFER, WAITED, Operation
from api.schemas import body
from api.schemas.job import JobObject
from api.services.hit_counter import HitCounter
from api.services.job_submission import JobSubmission
from api.services.jobs import JobService
from api.services.request_resolver import RequestResolver
from shared.dialects import classer_tag, cn8, cn8_few_shot
from shared.dialects.classer_response import ClassifyTextAnswer, TagAnswer
from shared.dialects.classer_tag import TagBody
from shared.dialects.classification import ClassifyAnswer
from shared.dialects.cn8 import ProxyClassifyAnswer, ProxyClassifyBody
from shared.dialects.cn8_few_shot import ProxyFewShotAnswer, ProxyFewShotBody
from shared.dialects.native import ClassifyBody
from shared.dialects.protocol import Dialect, own_fields
from shared.dialects.registry import pick
from shared.dialects.requested import UnresolvedRequest
from shared.types import ClassifyRequest, ClassifyResult

_PROXY_HEADERS = {**WAITED, 200: (*WAITED[200], "X-Engine", "X-Model-Warmup-Ms")}
_WAITED = {**WAITED, 200: (*WAITED[200], *CACHED, "X-Tokens-Used", "X-Model-Warmup-Ms")}
OPERATIONS = (
    Operation(
        method="post",
        path=cn8.PATH,
        scope="classify",
        tag="Classify",
        name="proxyTextClassify",
        summary="Score the labels of one text, in the form of the CN8 API.",
        about="An NLI model scores each label by itself. Where no running worker holds one, the "
        "embedding engine does, and the header `X-Engine` says `embedding`.",
        body=ProxyClassifyBody,
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: ProxyClassifyAnswer, 202: JobObject},
        headers=_PROXY_HEADERS,
        problems=(400, 404, 504),
        example={
            "text": "The parcel never arrived.",
            "labels": ["delivery", "billing"],
            "threshold": 0.2,
        },
        dialect=cn8,
    ),
    Operation(
        method="post",
        path=cn8_few_shot.PATH,
        scope="classify",
        tag="Classify",
        name="proxyTextFewShot",
        summary="Sort one text by examples of each label, in the form of the CN8 API.",
        about="A label is the mean of its examples; its name does not count. No example is stored.",
        body=ProxyFewShotBody,
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: ProxyFewShotAnswer, 202: JobObject},
        headers=_PROXY_HEADERS,
        problems=(400, 404, 504),
        example={
            "text": "The parcel never arrived.",
            "examples": {
                "delivery": ["Where is my order?", "It should have come on Monday."],
                "billing": ["I was charged twice.", "The invoice is wrong."],
            },
        },
        dialect=cn8_few_shot,
    ),
    Operation(
        method="post",
        path="/v1/tag",
        scope="classify",
        tag="Classify",
        name="tag",
        summary="Find the labels of one text, image or document that apply; there may be none.",
        body=TagBody,
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: TagAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, 402, 404, 504),
        example={
            "text": "My card was charged twice, and the parcel never arrived.",
            "labels": ["delivery", "billing", "praise"],
            "threshold": 0.4,
        },
        dialect=classer_tag,
    ),
    Operation(
        method="post",
        path="/v1/classify",
        scope="classify",
        tag="Classify",
        name="classify",
        summary="Sort texts into labels.",
        about="With `text`, `image` or `file` instead of `input`, the request and the answer have "
        "the form of the Classer API, as those of `/v1/tag`.",
        body=ClassifyBody,
        parameters=(PREFER, IDEMPOTENCY_KEY),
        answers={200: (ClassifyAnswer, ClassifyTextAnswer), 202: JobObject},
        headers=_WAITED,
        problems=(400, 402, 404, 504),
        example={
            "input": ["The parcel never arrived.", "My card was charged twice."],
            "labels": ["delivery", "billing"],
            "unknown_below": 0.2,
        },
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Classify:
    """One classify request, read and understood."""

    submit: JobSubmission
    jobs: JobService
    resolve: RequestResolver
    uses: HitCounter
    dialect: Dialect
    request: UnresolvedRequest
    prefer: Prefer
    timeout_s: float

    def respond(self, job_id: str | None) -> Response:
        """The answer that the caller prefers."""
        job_request = self.resolve.classify(self.request, account=middleware.caller().account)
        made = (
            self._later(job_request, job_id)
            if self.prefer.respond_async
            else self._now(job_request)
        )
        made.headers["X-Engine"] = job_request.engine or "embedding"
        if job_request.classifier is not None:
            self.uses.count(job_request.classifier.account, job_request.classifier.classifier_id)
        return made

    def _now(self, job_request: ClassifyRequest) -> Response:
        result = self.submit.run_sync(
            job_request,
            caller=middleware.caller(),
            request_id=middleware.request_id(),
            timeout_s=self.timeout_s if self.prefer.wait_s is None else self.prefer.wait_s,
            priority=self.request.priority,
        )
        assert isinstance(result, ClassifyResult)
        rendered = self.dialect.render(job_request, result)
        applied = {"Preference-Applied": self.prefer.applied()} if self.prefer.wait_s else {}
        model = model_header(job_request, self.resolve.catalogue, result)
        headers = {**rendered.headers, **cache_headers(result), **applied, **model}
        return reply(rendered.body, headers=headers)

    def _later(self, job_request: ClassifyRequest, job_id: str | None) -> Response:
        job = self.submit.enqueue(
            job_request,
            caller=middleware.caller(),
            request_id=middleware.request_id(),
            dialect=self.dialect.NAME,
            priority=self.request.priority,
            job_id=job_id,
            metadata=self.request.metadata,
        )
        made = answer(
            job,
            job_request,
            dialect=self.dialect.NAME,
            jobs=self.jobs,
            prefer=self.prefer,
            timeout_s=self.timeout_s,
        )
        made.headers.update(model_header(job_request, self.resolve.catalogue))
        return made


def blueprint(services: Services) -> Blueprint:
    """The route."""
    jobs, settings = services.jobs, services.settings
    timeout_s = settings.request_timeout_s
    routes = Blueprint("classify", __name__)

    @routes.post(cn8.PATH)
    @routes.post(cn8_few_shot.PATH)
    @routes.post("/v1/tag")
    @routes.post("/v1/classify")
    def classify() -> Response:
        with services.slots.one():
            data = json_body.data(max_bytes=settings.max_body_bytes)
            dialect, fields = pick(body.parse(data, schema_checks="input"), path=request.path)
            with own_fields(dialect.own_error):
                return answered(data, dialect, fields)

    def answered(data: bytes, dialect: Dialect, fields: dict[str, object]) -> Response:
        call = _Classify(
            submit=services.submit,
            jobs=jobs,
            resolve=services.resolve,
            uses=services.uses,
            dialect=dialect,
            request=dialect.parse(fields, default_model=services.default_model),
            prefer=prefer_header.read(request.headers.get("Prefer"), max_wait_s=timeout_s),
            timeout_s=timeout_s,
        )
        return once(
            services.idempotency,
            data,
            call.respond,
            reserve_s=timeout_s + MARGIN_S,
            as_it_stands=lambda stored: job_as_it_stands(jobs, stored),
        )

    return routes
