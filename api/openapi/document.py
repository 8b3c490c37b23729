"""The OpenAPI 3.1 document, built from the operations and the models that parse and render.

One test compares the operations with the routes of the app; another sends the requests of the
document.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.openapi import examples
from api.openapi.client_schemas import readable
from api.openapi.model import REQUEST_ID, TEXT, Content, Json, Operation, Parameter, Tag
from shared.dialects.problem import MEDIA_TYPE, Problem

_REF = "#/components/schemas/{model}"
_HEADERS: dict[str, str] = {
    "Accept-Ranges": "`bytes`: a range of them may be asked for.",
    "Content-Disposition": "What to call the file.",
    "Content-Range": "Which bytes these are, and how many there are.",
    "ETag": "What these bytes are known by; other bytes have another one.",
    "Idempotent-Replayed": "`true` where the answer is the one given before.",
    "Location": "Where the job or the webhook is.",
    "Preference-Applied": "What of `Prefer` was followed.",
    "X-Cache": "`HIT` where all items were cached, else `MISS`; only of calls with `cache`.",
    "X-Cache-Age": "Seconds since the oldest cached answer was computed; only of a `HIT`.",
    "X-Cache-Key": "Names the items and all that decides about their answers: 16 hex digits.",
    "Retry-After": "Seconds to wait.",
    "WWW-Authenticate": "`Bearer`.",
    "X-Tokens-Used": "The tokens that the request cost; present in the form of the Classer API.",
    "X-Model-Warmup-Ms": "For how long the request has waited for a model that was not in memory; "
    "absent if it has not.",
    "X-Engine": "The engine that scored the labels.",
    "X-Request-ID": "The id of this request, as it stands in the log.",
}
_TAGS: dict[Tag, str] = {
    "Classify": "Sort texts, images and documents into labels.",
    "Train": "Make classifiers from examples.",
    "Classifiers": "Classifiers that were trained, and their versions.",
    "Retraining": "Classifiers that learn what came in, and go live only if they are better.",
    "Jobs": "Calls that go on after their answer.",
    "Batches": "Files of rows, in the shapes of the OpenAI API.",
    "Files": "What batches read and write.",
    "Uploads": "Files that are sent in parts.",
    "Webhooks": "Addresses that are told when jobs and batches end.",
    "Models": "The models on offer.",
    "Account": "The account of the key: its limits, keys, usage and balance.",
    "Health": "Whether the service works; for operators, without a key.",
}
_BYTES: Json = {"type": "string", "format": "binary"}
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
    507: ("Retry-After",),
    504: ("Location",),  # of a job that goes on; an inline call has none
}


def document(operations: Sequence[Operation], root: str = "") -> Json:
    """The whole document of the operations, of an API whose paths begin with the `root`."""
    contents = [each for o in operations for answer in o.answers.values() for each in _all(answer)]
    contents += [each for o in operations for each in (o.body, *o.uploads.values()) if each]
    faults = {o.fault for o in operations}
    shapes: set[type[BaseModel]] = {*faults, *(c for c in contents if not isinstance(c, str))}
    _, schemas = models_json_schema(
        [(shape, _mode(shape)) for shape in sorted(shapes, key=lambda shape: shape.__name__)],
        ref_template=_REF,
    )
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pigeonhole",
            "version": _version(),
            "summary": "Sorts texts, images and documents into labels, at once or as a job.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/", "description": "Where this document comes from."}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {name: readable(each) for name, each in schemas["$defs"].items()},
            "headers": {n: {"description": d, "schema": TEXT} for n, d in _HEADERS.items()},
            "responses": {
                _named(fault, status): _problem(fault, status)
                for fault in sorted(faults, key=lambda each: each.__name__)
                for status in sorted(
                    {s for o in operations if o.fault is fault for s in o.error_statuses}
                )
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> Json:
    headers = operation.headers or {}
    made: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        **({"description": operation.about} if operation.about else {}),
        "tags": [operation.tag],
        "parameters": [_parameter(p) for p in (*operation.parameters, REQUEST_ID)],
        "responses": {
            **{
                str(status): _answer(status, shape, headers.get(status, ()))
                for status, shape in operation.answers.items()
            },
            **{
                str(status): {"$ref": f"#/components/responses/{_named(operation.fault, status)}"}
                for status in operation.error_statuses
            },
        },
        "security": [{"key": []}] if operation.needs_key else [],
    }
    if operation.body is not None or operation.uploads:
        made["requestBody"] = {
            "required": operation.body_required,
            "content": _contents(operation),
        }
    return made


def _contents(operation: Operation) -> Json:
    """The body of a request, by media type, each with an example."""
    content: Json = {}
    if operation.body is not None:
        content["application/json"] = {**_schema([operation.body]), "example": operation.example}
    for media_type, shape in operation.uploads.items():
        if shape is not None:
            content[media_type] = {**_schema([shape]), "example": operation.example}
        else:
            content[media_type] = {"schema": _BYTES}
            if media_type in examples.FILES:
                content[media_type]["example"] = examples.FILES[media_type]
    return content


def _parameter(parameter: Parameter) -> Json:
    example = examples.PARAMETERS.get(parameter.name)
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.about,
        "schema": parameter.schema,
        **({"example": example} if example is not None else {}),
    }


def _answer(status: int, contents: Content | tuple[Content, ...], headers: tuple[str, ...]) -> Json:
    content: Json = {
        each: {"schema": TEXT if each.startswith("text/") else _BYTES}
        for each in _all(contents)
        if isinstance(each, str)
    }
    if shapes := [each for each in _all(contents) if not isinstance(each, str)]:
        content["application/json"] = _schema(shapes)
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(headers),
        "content": content,
    }


def _all(contents: Content | tuple[Content, ...]) -> tuple[Content, ...]:
    return contents if isinstance(contents, tuple) else (contents,)


def _schema(shapes: list[type[BaseModel]]) -> Json:
    refs = [{"$ref": _REF.format(model=shape.__name__)} for shape in shapes]
    return {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}


def _named(fault: type[BaseModel], status: int) -> str:
    return f"{fault.__name__}{status}"


def _problem(fault: type[BaseModel], status: int) -> Json:
    schema = {"schema": {"$ref": _REF.format(model=fault.__name__)}}
    media_types = [MEDIA_TYPE] if issubclass(fault, Problem) else []
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(_PROBLEM_HEADERS.get(status, ())),
        "content": dict.fromkeys([*media_types, "application/json"], schema),
    }


def _headers(names: tuple[str, ...]) -> Json:
    return {n: {"$ref": f"#/components/headers/{n}"} for n in (*names, "X-Request-ID")}


def _mode(shape: type[BaseModel]) -> Literal["validation", "serialization"]:
    return "validation" if shape.__name__.endswith("Body") else "serialization"


def _version() -> str:
    try:
        return version("pigeonhole-server")
    except PackageNotFoundError:
        return "0"  # run from a source tree
