"""The model of an operation in the OpenAPI document: method, path, parameters, responses."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from api.schemas.example_file import FILE_TYPES, TYPES
from api.services.idempotency import KEY_PATTERN, MAX_CHARS
from shared.dialects import native
from shared.dialects.problem import Problem
from shared.dialects.protocol import ErrorDialect

Json = dict[str, Any]
Tag = Literal[
    "Classify",
    "Train",
    "Classifiers",
    "Retraining",
    "Jobs",
    "Batches",
    "Files",
    "Uploads",
    "Webhooks",
    "Models",
    "Account",
    "Health",
]
"""Groups of operations, in the order of the document."""
_SERVICES: dict[Tag, str] = {
    "Classify": "classify",
    "Train": "train",
    "Classifiers": "classifiers",
    "Retraining": "classifiers",
    "Jobs": "jobs",
    "Batches": "batches",
    "Files": "batches",
    "Uploads": "batches",
    "Webhooks": "jobs",
    "Models": "",
    "Account": "account",
    "Health": "",
}
"""The service of the operations of a tag, to which keys may be limited."""
_PROXY = "/v1/proxy/"  # each of these paths is a service by itself
Content = type[BaseModel] | str
"""A model as JSON, or a media type without a schema."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A header, path or query parameter."""

    name: str
    where: str
    about: str
    schema: Json
    keyed: bool = False  # each key may be a parameter of its own: `name[key]=value`


@dataclass(frozen=True, kw_only=True)
class QueryFields:
    """Fields that may stand in the query beside a body that is a file; described in words only.

    `beside` are the media types of such bodies; with none of them, of any body.
    """

    shape: type[BaseModel]
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path: what it takes, and what each status brings, one of several where a
    tuple says so. `uploads` are further media types of the body; `example` is a body that works, as
    JSON or as the fields of a form of which the first is a file; `dialect` is that of its errors;
    `about` is what the summary has no room for; `problems` are statuses of errors that do not
    follow from the rest. `scope` is the one that a key needs, empty where no key is needed; with
    `own_jobs` the key that submitted the job needs none. Query parameters that are neither among
    the `parameters` nor among the `query_fields` are refused, except by an operation that
    `ignores_query`: probes of load balancers add their own.
    """

    method: str
    path: str
    tag: Tag
    name: str
    summary: str
    scope: str = ""
    own_jobs: bool = False
    about: str = ""
    answers: dict[int, Content | tuple[Content, ...]]
    problems: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    body_required: bool = True
    example: Json = field(default_factory=dict)
    uploads: dict[str, type[BaseModel] | None] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    query_fields: QueryFields | None = None
    headers: dict[int, tuple[str, ...]] | None = None
    needs_key: bool = True
    ignores_query: bool = False
    dialect: ErrorDialect = native

    @property
    def service(self) -> str:
        """The service that a key must be allowed to use; empty: none."""
        if self.path.startswith(_PROXY):
            return self.path.removeprefix(_PROXY)
        return _SERVICES[self.tag]

    @property
    def fault(self) -> type[BaseModel]:
        """The body of an error."""
        return self.dialect.ERROR

    @property
    def error_statuses(self) -> tuple[int, ...]:
        """Of all its errors: those that are its own, and those that follow from what it takes."""
        found = set(self.problems)
        if not self.ignores_query:  # an unknown parameter
            found.add(422 if self.fault is Problem else 400)
        if self.needs_key:
            found |= {401, 403, 429, 500, 503, 507}
        if "{" in self.path:
            found.add(404)
        if self.body is not None or self.uploads:  # too slow, too large, of another type
            found |= {408, 413, 415}
        if IDEMPOTENCY_KEY in self.parameters:
            found |= {409, 422}
        return tuple(sorted(found))

    def takes(self, name: str, known: Collection[str]) -> bool:
        """Whether a query parameter is one of the known names, or a key of one that is keyed."""
        base, bracket, _ = name.partition("[")
        keyed = {each.name for each in self.parameters if each.keyed}
        return name in known or (bracket == "[" and name.endswith("]") and base in keyed)

    def query_names(self, media_type: str = "") -> tuple[str, ...]:
        """Names of the query parameters that it takes beside a body of the media type."""
        names = [each.name for each in self.parameters if each.where == "query"]
        fields = self.query_fields
        if fields is not None and (not fields.beside or media_type in fields.beside):
            names += names_of(fields.shape)
        return tuple(names)


TEXT: Json = {"type": "string"}
REPLAYED: dict[int, tuple[str, ...]] = {200: ("Idempotent-Replayed",)}
WAITED: dict[int, tuple[str, ...]] = {
    200: ("Preference-Applied", "Idempotent-Replayed"),
    202: ("Location", "Retry-After", "Preference-Applied", "Idempotent-Replayed"),
}
"""Headers of an operation that answers 202 with a job where its result is not there in time."""
CACHED = ("X-Cache", "X-Cache-Key", "X-Cache-Age")
"""Headers of an answer to which the result cache may contribute."""
REQUEST_ID = Parameter(
    name="X-Request-ID",
    where="header",
    about="An id of yours for this request: up to 128 of A-Z a-z 0-9 . _ -; others are replaced.",
    schema=TEXT,
)
PREFER = Parameter(
    name="Prefer",
    where="header",
    about="`respond-async`: 202 with a job. `respond-async, wait=10`: the answer if it is there "
    "within 10 s, else a job. `wait=10`: the answer within 10 s, else 504; a call that is always a "
    "job, such as a train call, answers 202 with the job instead of 504.",
    schema=TEXT,
)
IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    where="header",
    about="The same call sent twice with the same key is done once and answered twice. The key has "
    f"1 to {MAX_CHARS} printable ASCII characters and may stand in quotes.",
    schema={**TEXT, "pattern": KEY_PATTERN},
)
RANGE = Parameter(
    name="Range",
    where="header",
    about="The bytes that are wanted, such as `bytes=1000-`: 206, and nothing else is read. One "
    "range; a header of another form is answered with the whole file.",
    schema=TEXT,
)
IF_RANGE = Parameter(
    name="If-Range",
    where="header",
    about="The `ETag` of what you have: other bytes are sent whole.",
    schema=TEXT,
)
LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    where="header",
    about="The id of the last event that you have: the stream goes on after it.",
    schema={"type": "string", "pattern": "^[\t -~]*$"},
)


def path_id(name: str, about: str) -> Parameter:
    """An id in the path."""
    return Parameter(name=name, where="path", about=about, schema={**TEXT, "minLength": 1})


CLASSIFIER_ID = path_id(
    "classifier_id",
    "A classifier of yours: its id or name; with `@v3` or `@alias` where a version is meant.",
)
BATCH_ID = path_id("batch_id", "The `id` of a batch.")
METADATA = Parameter(
    name="metadata",
    where="query",
    about="Only those whose metadata have these values: a JSON object of texts. Each key may also "
    "be a parameter of its own, as in `metadata[team]=support`.",
    schema=TEXT,
    keyed=True,
)


def choice(name: str, about: str, values: Iterable[str]) -> Parameter:
    """A filter by one of a few values."""
    return Parameter(
        name=name,
        where="query",
        about=about,
        schema={"type": "string", "enum": [str(each) for each in values]},
    )


def after(prefix: str) -> Parameter:
    """Where a page begins, by an id with the prefix."""
    return Parameter(
        name="after",
        where="query",
        about="The last id of the page before.",
        schema={"type": "string", "pattern": f"^{prefix}[0-9a-hjkmnp-tv-z]{{26}}$"},
    )


def limit(*, default: int, most: int) -> Parameter:
    """How many a page may hold."""
    return Parameter(
        name="limit",
        where="query",
        about="The most of a page.",
        schema={"type": "integer", "minimum": 1, "maximum": most, "default": default},
    )


DOWNLOAD_HEADERS: dict[int, tuple[str, ...]] = {
    200: ("Accept-Ranges", "Content-Disposition", "ETag"),
    206: ("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag"),
    304: ("Accept-Ranges", "ETag"),
}


class _FileOfExamples(TypedDict):
    about: str
    uploads: dict[str, type[BaseModel] | None]
    query_fields: QueryFields


def names_of(shape: type[BaseModel]) -> list[str]:
    """The fields of a shape, as they are called in a request."""
    return [field.alias or name for name, field in shape.model_fields.items()]


def file_of_examples(fields: type[BaseModel]) -> _FileOfExamples:
    """What an operation says of examples in a file. Neither form nor query is described otherwise.

    A generated client has one argument for a name, so a field cannot be in both. And
    typescript-fetch does not compile where a body is JSON or a form.
    """
    names = ", ".join(f"`{name}`" for name in names_of(fields))
    return {
        "about": "The examples may also be in a file: as the body, with other fields in the query, "
        f"or as the part `file` of a form (`multipart/form-data`) with fields beside it: {names}.",
        "uploads": dict.fromkeys(TYPES),
        "query_fields": QueryFields(shape=fields, beside=FILE_TYPES),
    }
