"""The one helper that every test of an error path uses."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from shared.dialects.openai import OpenAIError
from shared.dialects.problem import Problem


def assert_problem(
    response: TestResponse,
    status: int,
    code: str,
    *,
    field: str | None = None,
    says: str | None = None,
) -> dict[str, Any]:
    """The answer is a problem of this status and code, about this field; its body."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype in {"application/problem+json", "application/json"}
    body: dict[str, Any] = response.get_json(force=True)
    Problem.model_validate(body, strict=True)
    assert set(body) == set(Problem.model_fields)
    assert body["status"] == status
    assert body["code"] == code
    assert body["message"] == body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert all(error["input"] is None for error in body["errors"])
    if field is not None:
        assert field in [error["field"] for error in body["errors"]]
    if says is not None:
        assert says in body["detail"]
    if status in {429, 503}:
        assert int(response.headers["Retry-After"]) >= 1
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return body


def assert_openai_error(
    response: TestResponse, status: int, *, param: str | None = None, says: str | None = None
) -> dict[str, Any]:
    """The answer is an error of the OpenAI API of this status, about this field; what it says."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/json"
    body = response.get_json()
    OpenAIError.model_validate(body, strict=True)
    assert set(body) == {"error"}
    fault: dict[str, Any] = body["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    if param is not None:
        assert fault["param"] == param
    if says is not None:
        assert says in fault["message"]
    if status in {429, 503}:
        assert int(response.headers["Retry-After"]) >= 1
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return fault
