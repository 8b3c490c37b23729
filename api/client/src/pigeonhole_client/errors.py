"""The exceptions of the client: one class for each error code of the service.

Error                          anything that the client raises
├── ConfigurationError         no URL, no key, or arguments that contradict each other
├── ConnectionFailed           no answer: refused, cut off, or too late
├── JobFailed                  a job ended without a result (`.job`)
├── BatchFailed                a batch ended before its rows ran (`.batch`)
└── ApiError                   the service refused a request
    ├── BadRequest             400, 413, 415, 422: the request has to be changed
    │   ├── ModelNotFound  InvalidLabels  LabelLimitExceeded  LabelsRequired
    │   └── TokenLimitExceeded  FetchFailed  UnreadableInput
    ├── AuthenticationError    401: MissingKey, InvalidKey, InvalidKeyFormat
    ├── PermissionDenied       403: ScopeNotAllowed, ResourceLimitExceeded,
    │                              InsufficientBalance (402 in the Classer API)
    ├── NotFound               404
    ├── Conflict               409
    ├── RateLimited            429: TooBusy, TooManyWrongKeys
    └── ServerError            5xx: InternalError, ServiceUnavailable, ServiceTimeout,
                               StorageFull
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pigeonhole_client.types import Batch, Job


class Error(Exception):
    """Anything that the client raises."""

    request_id: str | None = None
    """Id of the request in the log of the service; None where no answer came."""


class ConfigurationError(Error):
    """The client does not know where the service is, or arguments contradict each other."""


class ConnectionFailed(Error):
    """The service gave no answer: connection refused or cut off, or a timeout."""


class JobFailed(Error):
    """A job ended without a result."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.detail}" if job.error else ""
        super().__init__(f"{job.id} is {job.status}{reason}")
        self.job = job


class BatchFailed(Error):
    """A batch ended before its rows ran."""

    def __init__(self, batch: Batch) -> None:
        faults = batch.errors.data if batch.errors else []
        places = [f"line {each.line}: " if each.line else "" for each in faults]
        reasons = [place + each.message for place, each in zip(places, faults, strict=True)]
        more = [f"({len(reasons) - 3} more)"] if len(reasons) > 3 else []
        super().__init__(
            f"{batch.id} is {batch.status}: {'; '.join([*reasons[:3], *more]) or 'no reason given'}"
        )
        self.batch = batch


@dataclass(frozen=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    message: str


class ApiError(Error):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        code: The code of the service, such as `INPUT_INVALID_LABELS`; empty where the answer came
            from something else, such as a proxy.
        detail: One sentence.
        fields: The fields that are wrong.
        request_id: Id of the request in the log of the service.
        retry_after_s: Seconds after which the service asks for a retry; None if it does not say.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str = "",
        fields: tuple[FieldProblem, ...] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.fields = fields
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        about = ", ".join(filter(None, [self.code or f"HTTP {self.status}", self.request_id]))
        return f"{self.detail} ({about})"


class BadRequest(ApiError):
    """The request has to be changed before it can succeed."""


class ModelNotFound(BadRequest):
    """The model is unknown, or no running worker holds it."""


class InvalidLabels(BadRequest):
    """Fewer than two distinct labels."""


class LabelLimitExceeded(BadRequest):
    """Too many labels or label groups."""


class LabelsRequired(BadRequest):
    """A request with neither labels nor a classifier."""


class TokenLimitExceeded(BadRequest):
    """An input, or the labels of a question, have too many tokens."""


class FetchFailed(BadRequest):
    """A URL of the request could not be read."""


class UnreadableInput(BadRequest):
    """An image or a document cannot be read."""


class AuthenticationError(ApiError):
    """The key is missing, unknown, revoked or expired."""


class MissingKey(AuthenticationError):
    """No key was sent."""


class InvalidKey(AuthenticationError):
    """The key is unknown, revoked or expired."""


class InvalidKeyFormat(AuthenticationError):
    """The key has characters that no header can hold."""


class PermissionDenied(ApiError):
    """The key may not do this."""


class ScopeNotAllowed(PermissionDenied):
    """The key is limited to other scopes."""


class ServiceNotAllowed(PermissionDenied):
    """The key is limited to other services."""


class AccountSuspended(PermissionDenied):
    """The operator has suspended the account."""


class InsufficientBalance(PermissionDenied):
    """The account has no tokens left, or fewer than a batch is estimated to need."""


class ResourceLimitExceeded(PermissionDenied):
    """The account has as many classifiers or webhooks as it may."""


class NotFound(ApiError):
    """No such object, or one of another account."""


class Conflict(ApiError):
    """The state of an object forbids the request."""


class RateLimited(ApiError):
    """Too many requests."""


class TooBusy(RateLimited):
    """Too many calls wait at the service, or run for the account."""


class RequestRateExceeded(RateLimited):
    """The account has made the requests that its tier allows in a minute."""


class TokenRateExceeded(RateLimited):
    """The request has more tokens than the account has left this minute.

    With `retry_after_s` None it has more than any minute allows: send fewer inputs, or a batch.
    """


class TooManyWrongKeys(RateLimited):
    """Too many wrong keys came from this address."""


class ServerError(ApiError):
    """The service could not do what it was asked."""


class InternalError(ServerError):
    """A fault of the service; its log has more under the request id."""


class ServiceUnavailable(ServerError):
    """A part of the service is away."""


class ServiceTimeout(ServerError):
    """The service had no result in time."""


class StorageFull(ServerError):
    """The disk of the service is full."""


BY_CODE: Mapping[str, type[ApiError]] = {
    "INPUT_MODEL_NOT_FOUND": ModelNotFound,
    "INPUT_INVALID_LABELS": InvalidLabels,
    "INPUT_LABEL_LIMIT_EXCEEDED": LabelLimitExceeded,
    "INPUT_LABELS_REQUIRED": LabelsRequired,
    "INPUT_TOKEN_LIMIT_EXCEEDED": TokenLimitExceeded,
    "INPUT_FETCH_FAILED": FetchFailed,
    "INPUT_UNREADABLE": UnreadableInput,
    "VALIDATION_ERROR": BadRequest,
    "METHOD_NOT_ALLOWED": BadRequest,
    "AUTH_MISSING_API_KEY": MissingKey,
    "AUTH_INVALID_API_KEY": InvalidKey,
    "AUTH_INVALID_FORMAT": InvalidKeyFormat,
    "AUTHZ_SCOPE_NOT_ALLOWED": ScopeNotAllowed,
    "AUTHZ_SERVICE_NOT_ALLOWED": ServiceNotAllowed,
    "AUTHZ_ACCOUNT_SUSPENDED": AccountSuspended,
    "AUTHZ_INSUFFICIENT_BALANCE": InsufficientBalance,
    "AUTHZ_RESOURCE_LIMIT_EXCEEDED": ResourceLimitExceeded,
    "RESOURCE_NOT_FOUND": NotFound,
    "CONFLICT_RESOURCE_BUSY": Conflict,
    "RATE_CONCURRENCY_LIMIT_EXCEEDED": TooBusy,
    "RATE_REQUEST_LIMIT_EXCEEDED": RequestRateExceeded,
    "RATE_TOKEN_LIMIT_EXCEEDED": TokenRateExceeded,
    "RATE_WRONG_KEY_LIMIT_EXCEEDED": TooManyWrongKeys,
    "REQUEST_TIMEOUT": ServiceTimeout,
    "INTERNAL_ERROR": InternalError,
    "SERVICE_UNAVAILABLE": ServiceUnavailable,
    "SERVICE_TIMEOUT": ServiceTimeout,
    "STORAGE_FULL": StorageFull,
}
# For codes that are newer than this client, and for answers of proxies.
_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def api_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception of an error answer, in the shape of the service or of the OpenAI API."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    fields = parsed if isinstance(parsed, dict) else {}
    inner = fields.get("error")
    if isinstance(inner, dict):  # the paths of files and batches answer as the OpenAI API does
        detail, code = inner.get("message"), str(inner.get("code") or "").upper()
        problems = _problems([{"field": inner.get("param"), "message": detail}])
    else:
        detail, code = fields.get("detail"), str(fields.get("code") or "")
        problems = _problems(fields.get("errors"))
    kind = BY_CODE.get(code) or _BY_STATUS.get(status)
    return (kind or (ServerError if status >= 500 else BadRequest))(
        str(detail or f"the answer has status {status} and no reason"),
        status=status,
        code=code,
        fields=tuple(problems),
        request_id=headers.get("X-Request-ID") or fields.get("request_id"),
        retry_after_s=_seconds(headers.get("Retry-After")),
    )


def _problems(listed: Any) -> list[FieldProblem]:
    return [
        FieldProblem(str(each["field"]), str(each.get("message", "")))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("field")
    ]


def _seconds(header: str | None) -> float | None:
    """The seconds of `Retry-After`; its other form, a date, is not sent by the service."""
    return float(header) if header and header.isascii() and header.isdigit() else None
