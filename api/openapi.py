"""The OpenAPI 3.1 document: one table of operations over the models that parse and render.

A test compares the table with the routes of the app, and another sends what the document promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import problems
from api.jobs import PLOTS
from api.problems import Problem
from api.readiness import Liveness, Readiness
from api.upload import MULTIPART
from api.wire.classifier import (
    ClassifierAnswer,
    ClassifierChangeBody,
    ClassifierList,
    Deleted,
    ForgottenExamples,
    RebuildBody,
    RollbackBody,
    VersionList,
)
from api.wire.evaluation import EvaluateAnswer, EvaluateBody, EvaluateFileBody
from api.wire.jina import ClassifyAnswer, ClassifyBody
from api.wire.job import JobList, JobObject
from api.wire.model import ModelList
from api.wire.train import TrainAnswer, TrainBody, TrainFileBody
from api.wire.weights import MEDIA_TYPE, ImportFields

_Json = dict[str, Any]
Content = type[BaseModel] | str
"""A model as JSON, or a media type without a schema."""
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
    """One method of one path: what it takes, and what each status brings, one of several where a
    tuple says so. `uploads` are further media types of the body.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, Content | tuple[Content, ...]]
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    uploads: dict[str, type[BaseModel] | None] = field(default_factory=dict)
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
_CLASSIFIER_ID = Parameter(
    name="classifier_id",
    where="path",
    about="A classifier of yours: its id or name; with `@v3` or `@alias` where a version is meant.",
    schema={**_TEXT, "minLength": 1},
)
_PLOT = Parameter(
    name="file",
    where="path",
    about="One of the drawings of an evaluation.",
    schema={"type": "string", "enum": sorted(PLOTS)},
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
    "Content-Disposition": "What to call the file.",
    "Idempotent-Replayed": "`true` where the answer is the one given before.",
    "Location": "Where the job is.",
    "Preference-Applied": "What of `Prefer` was followed.",
    "Retry-After": "Seconds to wait.",
    "WWW-Authenticate": "`Bearer`.",
    "X-Request-ID": "The id of this request, as it stands in the log.",
}
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
    504: ("Location",),  # of a job that goes on; an inline call has none
}
_KEYED = (401, 403, 500, 503)  # what any call with a key may meet


def _fields_in_query(shape: type[BaseModel]) -> tuple[Parameter, ...]:
    """The fields that stand beside the file in a form, for a body that is nothing but the file."""
    fields = shape.model_json_schema()["properties"]
    return tuple(
        Parameter(
            name=name,
            where="query",
            about=f"Beside a bare file. {about['description']}",
            schema=about["anyOf"][0],  # the other is null
        )
        for name, about in fields.items()
        if "anyOf" in about
    )


def _words_in_query(shape: type[BaseModel]) -> tuple[Parameter, ...]:
    """All fields of a shape, for a body that is no place for them."""
    return tuple(
        Parameter(
            name=name,
            where="query",
            about=about["description"],
            schema=about.get("anyOf", [about])[0],  # the other is null
        )
        for name, about in shape.model_json_schema()["properties"].items()
    )


# JSONL and CSV have more names; these are the ones to use.
_FILES: dict[str, type[BaseModel] | None] = dict.fromkeys(
    ("application/jsonl", "application/x-ndjson", "text/csv")
)

_WAITED: dict[int, tuple[str, ...]] = {
    200: ("Preference-Applied", "Idempotent-Replayed"),
    202: ("Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed"),
}

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
        method="post",
        path="/v1/train",
        name="train",
        summary="Make a classifier from examples, or train one further.",
        body=TrainBody,
        uploads={MULTIPART: TrainFileBody, **_FILES},
        parameters=(_PREFER, _IDEMPOTENCY_KEY, *_fields_in_query(TrainFileBody)),
        answers={200: TrainAnswer, 202: JobObject},
        headers={
            200: ("Preference-Applied", "Idempotent-Replayed"),
            202: ("Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed"),
        },
        problems=(400, *_KEYED, 404, 409, 413, 422, 429, 504),
    ),
    Operation(
        method="get",
        path="/v1/classifiers",
        name="listClassifiers",
        summary="Your classifiers, newest first.",
        answers={200: ClassifierList},
        problems=_KEYED,
    ),
    Operation(
        method="post",
        path="/v1/classifiers",
        name="listClassifiersToo",
        summary="The same; what is sent is not looked at.",
        answers={200: ClassifierList},
        problems=(*_KEYED, 413, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/import",
        name="importClassifier",
        summary="Make a classifier from an exported file, sent as the body.",
        uploads={MEDIA_TYPE: None},
        parameters=(_PREFER, _IDEMPOTENCY_KEY, *_words_in_query(ImportFields)),
        answers={200: TrainAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 409, 413, 422, 429, 504),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}",
        name="getClassifier",
        summary="All about a version of a classifier; the latest where none is named.",
        parameters=(_CLASSIFIER_ID,),
        answers={200: ClassifierAnswer},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="patch",
        path="/v1/classifiers/{classifier_id}",
        name="changeClassifier",
        summary="Change its name, description, access or aliases, or whether examples are kept.",
        body=ClassifierChangeBody,
        parameters=(_CLASSIFIER_ID,),
        answers={200: ClassifierAnswer},
        problems=(*_KEYED, 404, 409, 413, 422),
    ),
    Operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}",
        name="deleteClassifier",
        summary="Delete a classifier, with its versions and the examples it kept.",
        parameters=(_CLASSIFIER_ID,),
        answers={200: Deleted},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/versions",
        name="listVersions",
        summary="The versions that are kept, newest first.",
        parameters=(_CLASSIFIER_ID,),
        answers={200: VersionList},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rollback",
        name="rollBackClassifier",
        summary="Make a new version that is an old one again.",
        body=RollbackBody,
        parameters=(_CLASSIFIER_ID, _IDEMPOTENCY_KEY),
        answers={200: ClassifierAnswer},
        headers={200: ("Idempotent-Replayed",)},
        problems=(*_KEYED, 404, 409, 413, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/rebuild",
        name="rebuildClassifier",
        summary="Learn the examples that were kept anew, with this or another model.",
        body=RebuildBody,
        parameters=(_CLASSIFIER_ID, _PREFER, _IDEMPOTENCY_KEY),
        answers={200: TrainAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 422, 429, 504),
    ),
    Operation(
        method="delete",
        path="/v1/classifiers/{classifier_id}/examples",
        name="forgetExamples",
        summary="Delete the examples that were kept, and keep no more.",
        parameters=(_CLASSIFIER_ID,),
        answers={200: ForgottenExamples},
        problems=(*_KEYED, 404, 422),
    ),
    Operation(
        method="post",
        path="/v1/classifiers/{classifier_id}/evaluate",
        name="evaluateClassifier",
        summary="How good a version is on labelled examples.",
        body=EvaluateBody,
        uploads={MULTIPART: EvaluateFileBody, **_FILES},
        parameters=(
            _CLASSIFIER_ID,
            _PREFER,
            _IDEMPOTENCY_KEY,
            *_fields_in_query(EvaluateFileBody),
        ),
        answers={200: EvaluateAnswer, 202: JobObject},
        headers=_WAITED,
        problems=(400, *_KEYED, 404, 409, 413, 422, 429, 504),
    ),
    Operation(
        method="get",
        path="/v1/classifiers/{classifier_id}/export",
        name="exportClassifier",
        summary="A version as a file: safetensors that says what it is.",
        parameters=(_CLASSIFIER_ID,),
        answers={200: MEDIA_TYPE},
        headers={200: ("Content-Disposition",)},
        problems=(*_KEYED, 404, 422),
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
        answers={200: (ClassifyAnswer, TrainAnswer, EvaluateAnswer)},
        problems=(*_KEYED, 404, 409),
    ),
    Operation(
        method="get",
        path="/v1/jobs/{job_id}/plots/{file}",
        name="getJobPlot",
        summary="A drawing of an evaluation.",
        parameters=(_JOB_ID, _PLOT),
        answers={200: tuple(sorted(set(PLOTS.values())))},
        problems=(*_KEYED, 404),
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
    contents = [each for o in OPERATIONS for answer in o.answers.values() for each in _all(answer)]
    contents += [each for o in OPERATIONS for each in (o.body, *o.uploads.values()) if each]
    shapes: set[type[BaseModel]] = {Problem, *(c for c in contents if not isinstance(c, str))}
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
    if operation.body is not None or operation.uploads:
        content = {} if operation.body is None else {"application/json": _schema([operation.body])}
        content |= {
            media_type: {"schema": _TEXT} if shape is None else _schema([shape])
            for media_type, shape in operation.uploads.items()
        }
        made["requestBody"] = {"required": True, "content": content}
    return made


def _parameter(parameter: Parameter) -> _Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _answer(
    status: int, contents: Content | tuple[Content, ...], headers: tuple[str, ...]
) -> _Json:
    content: _Json = {c: {"schema": _TEXT} for c in _all(contents) if isinstance(c, str)}
    if shapes := [each for each in _all(contents) if not isinstance(each, str)]:
        content["application/json"] = _schema(shapes)
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(headers),
        "content": content,
    }


def _all(contents: Content | tuple[Content, ...]) -> tuple[Content, ...]:
    return contents if isinstance(contents, tuple) else (contents,)


def _schema(shapes: list[type[BaseModel]]) -> _Json:
    refs = [{"$ref": _REF.format(model=shape.__name__)} for shape in shapes]
    return {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}


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
