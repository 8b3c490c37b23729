"""The OpenAPI 3.1 document: one table of operations over the models that parse and render.

A test compares the table with the routes of the app, and another sends what the document promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import problems
from api.problems import Problem
from api.readiness import Liveness, Readiness
from api.wire.jina import ClassifyAnswer, ClassifyBody
from api.wire.job import JobList, JobObject
from api.wire.model import ModelList

_Json = dict[str, Any]
_REF = "#/components/schemas/{model}"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A header, path or query parameter."""

    name: str
    where: str
    about: str
    schema: _Json


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path: what it takes, and what each status brings."""

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, type[BaseModel] | str]  # a string is a media type without a schema
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    headers: dict[int, tuple[str, ...]] | None = None
    needs_key: bool = True


_TEXT: _Json = {"type": "string"}
_REQUEST_ID = Parameter(
    name="X-Request-ID",
    where="header",
    about="An id of yours for this request: up to 128 of A-Z a-z 0-9 . _ -; others are replaced.",
    schema=_TEXT,
)
_PREFER = Parameter(
    name="Prefer",
    where="header",
    about="`respond-async`: 202 with a job. `respond-async, wait=10`: the answer if it is there "
    "within 10 s, else a job. `wait=10`: the answer within 10 s, else 504.",
    schema={"type": "string", "examples": ["respond-async", "respond-async, wait=10"]},
)
_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    where="header",
    about="The same call sent twice with the same key is done once and answered twice.",
    schema={"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
)
_JOB_ID = Parameter(
    name="job_id", where="path", about="The `id` of a job.", schema={**_TEXT, "minLength": 1}
)
_AFTER = Parameter(
    name="after",
    where="query",
    about="The last id of the page before.",
    schema={"type": "string", "pattern": "^job_[0-9a-hjkmnp-tv-z]{26}$"},
)
_LIMIT = Parameter(
    name="limit",
    where="query",
    about="Jobs of a page.",
    schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
)
_HEADERS: dict[str, str] = {
    "Allow": "The methods of this path.",
    "Idempotent-Replayed": "`true` where the answer is the one given before.",
    "Location": "Where the job is.",
    "Preference-Applied": "What of `Prefer` was followed.",
    "Retry-After": "Seconds to wait.",
    "WWW-Authenticate": "`Bearer`.",
    "X-Request-ID": "The id of this request, as it stands in the log.",
}
_PROBLEM_HEADERS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
_KEYED = (401, 403, 500, 503)  # what any call with a key may meet

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/classify",
        name="classify",
        summary="Sort texts into labels.",
        body=ClassifyBody,
        parameters=(_PREFER, _IDEMPOTENCY_KEY),
        answers={200: ClassifyAnswer, 202: JobObject},
        headers={
            200: ("Preference-Applied", "Idempotent-Replayed"),
            202: ("Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed"),
        },
        problems=(400, *_KEYED, 404, 409, 413, 422, 429, 504),
    ),
    Operation(
        method="get",
        path="/v1/models",
        name="listModels",
        summary="The models on offer.",
        answers={200: ModelList},
        problems=_KEYED,
    ),
    Operation(
        method="get",
        path="/v1/jobs",
        name="listJobs",
        summary="Your jobs, newest first.",
        parameters=(_AFTER, _LIMIT),
        answers={200: JobList},
        problems=(*_KEYED, 422),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}",
        name="getJob",
        summary="A job as it stands.",
        parameters=(_JOB_ID,),
        answers={200: JobObject},
        headers={200: ("Retry-After",)},
        problems=(*_KEYED, 404),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}/result",
        name="getJobResult",
        summary="What a job would have answered at once.",
        parameters=(_JOB_ID,),
        answers={200: ClassifyAnswer},
        problems=(*_KEYED, 404, 409),
    ),
    Operation(
        method="delete",
        path="/v1/jobs/{job_id}",
        name="cancelJob",
        summary="End a job; what runs stops at the next batch.",
        parameters=(_JOB_ID,),
        answers={202: JobObject},
        problems=(*_KEYED, 404, 409),
    ),
    Operation(
        method="get",
        path="/health/live",
        name="live",
        summary="Whether the process answers.",
        answers={200: Liveness},
        problems=(500,),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/health/ready",
        name="ready",
        summary="Whether an item comes back through the real queue.",
        answers={200: Readiness, 503: Readiness},
        headers={503: ("Retry-After",)},
        problems=(500,),
        needs_key=False,
    ),
    Operation(
        method="get",
        path="/metrics",
        name="metrics",
        summary="Counts for Prometheus.",
        answers={200: "text/plain"},
        problems=(500,),
        needs_key=False,
    ),
)


def document() -> _Json:
    """The whole document."""
    shapes: set[type[BaseModel]] = {Problem, *(o.body for o in OPERATIONS if o.body)}
    shapes |= {m for o in OPERATIONS for m in o.answers.values() if not isinstance(m, str)}
    _, schemas = models_json_schema(
        [(shape, _mode(shape)) for shape in sorted(shapes, key=lambda shape: shape.__name__)],
        ref_template=_REF,
    )
    paths: dict[str, _Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pigeonhole",
            "version": _version(),
            "summary": "Sorts texts into labels, at once or as a job to be polled.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "headers": {n: {"description": d, "schema": _TEXT} for n, d in _HEADERS.items()},
            "responses": {
                f"Problem{status}": _problem(status)
                for status in sorted({s for o in OPERATIONS for s in o.problems})
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> _Json:
    headers = operation.headers or {}
    made: _Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(p) for p in (*operation.parameters, _REQUEST_ID)],
        "responses": {
            **{
                str(status): _answer(status, shape, headers.get(status, ()))
                for status, shape in operation.answers.items()
            },
            **{
                str(status): {"$ref": f"#/components/responses/Problem{status}"}
                for status in operation.problems
            },
        },
        "security": [{"key": []}] if operation.needs_key else [],
    }
    if operation.body is not None:
        schema = {"$ref": _REF.format(model=operation.body.__name__)}
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return made


def _parameter(parameter: Parameter) -> _Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _answer(status: int, shape: type[BaseModel] | str, headers: tuple[str, ...]) -> _Json:
    if isinstance(shape, str):
        content: _Json = {shape: {"schema": _TEXT}}
    else:
        content = {"application/json": {"schema": {"$ref": _REF.format(model=shape.__name__)}}}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(headers),
        "content": content,
    }


def _problem(status: int) -> _Json:
    schema = {"$ref": _REF.format(model=Problem.__name__)}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(_PROBLEM_HEADERS.get(status, ())),
        "content": {
            problems.MEDIA_TYPE: {"schema": schema},
            "application/json": {"schema": schema},
        },
    }


def _headers(names: tuple[str, ...]) -> _Json:
    return {n: {"$ref": f"#/components/headers/{n}"} for n in (*names, "X-Request-ID")}


def _mode(shape: type[BaseModel]) -> Literal["validation", "serialization"]:
    return "validation" if shape.__name__.endswith("Body") else "serialization"


def _version() -> str:
    try:
        return version("pigeonhole-server")
    except PackageNotFoundError:
        return "0"  # run from a source tree
