"""The dialect of the OpenAI API: what is not seen through the HTTP layer's own tests."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from api.schemas.openai import row_request
from shared import errors
from shared.batches import delimiter_of, encoding_of
from shared.dialects import openai
from shared.dialects.native import ClassifyBody
from shared.dialects.openai import OpenAIError
from shared.dialects.protocol import FailedCall, Rendered
from shared.errors import FieldError, InvalidRequest
from shared.statuses import STATUS
from shared.validation import within
from workers.inputs.tables import csv_dialect, encodings


def render(error: errors.PigeonholeError, status: HTTPStatus) -> Rendered:
    call = FailedCall(
        status=status,
        path="/v1/files",
        root="",
        request_id="req_1",
        headers={},
        accepts=frozenset(),
    )
    return openai.render_error(error, call)


@pytest.mark.parametrize("kind", errors.tree(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_type_by_its_status(kind: type[errors.PigeonholeError]):
    fields = (FieldError(field="x[1]", message="is wrong"),)

    rendered = render(kind("x[1]: is wrong", fields=fields), STATUS[kind])

    said, status = rendered.body.error, rendered.status
    server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    assert (said.type == "server_error") is server
    replayed = kind is errors.IdempotencyKeyReused
    assert (status == HTTPStatus.UNPROCESSABLE_ENTITY) is replayed
    assert (said.param, said.message) == ("x[1]", "x[1]: is wrong")
    assert said.code == kind.code.lower()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (504, "server_error"),
    ],
)
def test_types_are_those_that_clients_know(status: int, kind: str):
    rendered = render(errors.NotFound("no such file"), HTTPStatus(status))

    assert rendered.headers == {"Content-Type": "application/json"}
    assert rendered.body == OpenAIError.model_validate(
        {
            "error": {
                "message": "no such file",
                "type": kind,
                "param": None,
                "code": "resource_not_found",
            }
        }
    )


def test_an_error_within_another_request_keeps_its_kind_and_names_its_place():
    fault = FieldError(field="labels[2]", message="is wrong")
    inner = errors.LabelLimitExceeded("labels[2]: is wrong", fields=(fault,), retry_after_s=3)

    outer = within("classify", inner)

    assert type(outer) is errors.LabelLimitExceeded
    assert (outer.detail, outer.retry_after_s) == ("classify.labels[2]: is wrong", 3)
    assert outer.fields[0].field == "classify.labels[2]"
    assert within("classify", errors.NotFound("no such classifier")).detail == "no such classifier"


def test_what_is_asked_of_each_row_is_described_as_a_classify_request_is():
    described = row_request._schema()

    fields = {*ClassifyBody.model_fields, "classifier"} - {
        "errors",
        "input",
        "metadata",
        "priority",
    }
    assert set(described["properties"]) == fields
    assert "$ref" not in str(described)


@pytest.mark.parametrize(
    "said",
    ["utf-8", "UTF8", "utf-8-sig", "utf-16", "cp1252", "shift_jis", "Latin-1", "utf-16-be",
     "nope", "hex", "cp037", "a\0b", "ä", "utf-7", ""],
)  # fmt: skip
def test_an_encoding_is_refused_at_once_where_the_worker_would(said: str):
    try:
        found: str | None = encodings.encoding_of(b"", said)[0]
    except InvalidRequest:
        found = None

    asked = encoding_of(said)

    assert (asked is None) == (found is None)
    assert found is None or found.startswith(asked or "")


@pytest.mark.parametrize("said", [",", "tab", "\\t", "\t", "§", "", "||", '"', "\n", "\0", "tabs"])
def test_a_delimiter_is_refused_at_once_where_the_worker_would(said: str):
    try:
        found: str | None = csv_dialect.parse_delimiter(said)
    except InvalidRequest:
        found = None

    assert delimiter_of(said) == found
