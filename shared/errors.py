"""The error tree: every error that Pigeonhole raises on purpose, with its code in responses.

    PigeonholeError                     INTERNAL_ERROR
    ├── InvalidRequest                  VALIDATION_ERROR
    │   ├── BodyTooLarge                VALIDATION_ERROR
    │   ├── ContentEncodingNotSupported VALIDATION_ERROR
    │   ├── BodyTimeout                 REQUEST_TIMEOUT
    │   ├── LabelsRequired              INPUT_LABELS_REQUIRED
    │   ├── EtagMismatch                VALIDATION_ERROR
    │   ├── RangeNotSatisfiable         VALIDATION_ERROR
    │   └── IdempotencyKeyReused        VALIDATION_ERROR
    ├── ModelNotFound                   INPUT_MODEL_NOT_FOUND
    ├── InvalidLabels                   INPUT_INVALID_LABELS
    ├── LabelLimitExceeded              INPUT_LABEL_LIMIT_EXCEEDED
    ├── TokenLimitExceeded              INPUT_TOKEN_LIMIT_EXCEEDED
    ├── FetchFailed                     INPUT_FETCH_FAILED
    │   └── FetchInterrupted            INPUT_FETCH_FAILED                retryable
    ├── UnreadableInput                 INPUT_UNREADABLE
    ├── MissingKey                      AUTH_MISSING_API_KEY
    ├── InvalidKey                      AUTH_INVALID_API_KEY
    ├── InvalidKeyFormat                AUTH_INVALID_FORMAT
    ├── TooManyWrongKeys                RATE_WRONG_KEY_LIMIT_EXCEEDED
    ├── RequestRateExceeded             RATE_REQUEST_LIMIT_EXCEEDED       retryable
    ├── TokenRateExceeded               RATE_TOKEN_LIMIT_EXCEEDED         retryable
    │   └── RequestAboveTokenRate       RATE_TOKEN_LIMIT_EXCEEDED
    ├── ScopeNotAllowed                 AUTHZ_SCOPE_NOT_ALLOWED
    ├── ServiceNotAllowed               AUTHZ_SERVICE_NOT_ALLOWED
    ├── AccountSuspended                AUTHZ_ACCOUNT_SUSPENDED
    ├── InsufficientBalance             AUTHZ_INSUFFICIENT_BALANCE
    │   └── PaymentRequired             AUTHZ_INSUFFICIENT_BALANCE
    ├── ResourceLimitExceeded           AUTHZ_RESOURCE_LIMIT_EXCEEDED
    ├── NotFound                        RESOURCE_NOT_FOUND
    ├── MethodNotAllowed                METHOD_NOT_ALLOWED
    ├── Conflict                        CONFLICT_RESOURCE_BUSY
    ├── TooBusy                         RATE_CONCURRENCY_LIMIT_EXCEEDED   retryable, outage
    ├── Unavailable                     SERVICE_UNAVAILABLE               retryable, outage
    │   ├── BrokerUnavailable                                             retryable, outage
    │   │   └── BrokerFull              STORAGE_FULL                      retryable, outage
    │   └── StoreUnavailable                                              retryable, outage
    │       └── StoreFull               STORAGE_FULL                      retryable, outage
    ├── DeadlineExceeded                SERVICE_TIMEOUT                   retryable
    ├── WorkFailed                      INTERNAL_ERROR      a part failed in all its attempts
    ├── ObjectMissing                   INTERNAL_ERROR      the object store has no such name
    ├── PreconditionFailed              INTERNAL_ERROR      another writer wrote the object first
    ├── IllegalTransition               INTERNAL_ERROR      the state of a job forbids an event
    ├── LeaseLost                       INTERNAL_ERROR      another worker holds the part now
    ├── ClocksDisagree                  INTERNAL_ERROR      nothing is deleted: ages are uncertain
    ├── MessageUndecodable              INTERNAL_ERROR      bytes that are not a known message
    │   └── MessageTooNew                                                 retryable, outage
    └── ConfigurationError              INTERNAL_ERROR      wrong settings, or an unfit server

`retryable`: the same request, or the same batch row, may succeed later without a change. The error
lines and the `summary` of a batch show the flag, and a retry of the batch runs such rows. `outage`:
the service fails, not the request, so a worker requeues the task. `shared.statuses` maps codes to
HTTP statuses.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One wrong field of a request: its path, what is wrong, and how to correct it.

    `field` is a path such as ``input[3].text``. The value itself is never repeated.
    """

    field: str
    message: str
    type: str = "value_error"


class PigeonholeError(Exception):
    """Root of the tree; `str(error)` is a sentence that clients may see."""

    code = "INTERNAL_ERROR"
    retryable = False
    outage = False

    def __init__(
        self,
        detail: str,
        *,
        fields: tuple[FieldError, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields
        self.retry_after_s = retry_after_s

    def worded(self, detail: str, fields: tuple[FieldError, ...]) -> Self:
        """The same error in other words."""
        made = copy.copy(self)
        made.args, made.detail, made.fields = (detail,), detail, fields
        return made


class InvalidRequest(PigeonholeError):
    """Raised when the request's shape or a value in it is wrong."""

    code = "VALIDATION_ERROR"


class BodyTooLarge(InvalidRequest):
    """Raised before a body is read that is larger than its route allows."""


class ContentEncodingNotSupported(InvalidRequest):
    """Raised when a path does not support the `Content-Encoding` of the body.

    `supported` are the encodings that the path decodes.
    """

    def __init__(self, detail: str, *, supported: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(detail, **more)
        self.supported = supported


class BodyTimeout(InvalidRequest):
    """Raised when the body arrives too slowly; the connection is closed."""

    code = "REQUEST_TIMEOUT"


class LabelsRequired(InvalidRequest):
    """Raised when a classify request has neither labels nor a classifier."""

    code = "INPUT_LABELS_REQUIRED"


class EtagMismatch(InvalidRequest):
    """Raised when `If-Match` does not match the ETag of the file."""


class RangeNotSatisfiable(InvalidRequest):
    """Raised when `Range` requests bytes beyond the end of a file; `size` is the file's size."""

    def __init__(self, detail: str, *, size: int = 0, **more: Any) -> None:
        super().__init__(detail, **more)
        self.size = size


class IdempotencyKeyReused(InvalidRequest):
    """Raised when an `Idempotency-Key` belongs to a different request; 422 on every path."""


class ModelNotFound(PigeonholeError):
    """Raised when the catalogue has no such model or alias."""

    code = "INPUT_MODEL_NOT_FOUND"


class InvalidLabels(PigeonholeError):
    """Raised when fewer than two distinct labels are given."""

    code = "INPUT_INVALID_LABELS"


class LabelLimitExceeded(PigeonholeError):
    """Raised when there are more labels or label groups than the limit."""

    code = "INPUT_LABEL_LIMIT_EXCEEDED"


class TokenLimitExceeded(PigeonholeError):
    """Raised when one input has more tokens than the limit; the message gives its index."""

    code = "INPUT_TOKEN_LIMIT_EXCEEDED"


class FetchFailed(PigeonholeError):
    """Raised when a URL cannot be fetched: forbidden, not found, too large or of a wrong type."""

    code = "INPUT_FETCH_FAILED"


class FetchInterrupted(FetchFailed):
    """Raised when a fetch may succeed later: the server was too slow, unreachable or failing."""

    retryable = True


class UnreadableInput(PigeonholeError):
    """Raised when an image or document is broken, too large, or in an unsupported format."""

    code = "INPUT_UNREADABLE"


class MissingKey(PigeonholeError):
    """Raised when a request carries no key."""

    code = "AUTH_MISSING_API_KEY"


class InvalidKey(PigeonholeError):
    """Raised when the key is unknown, revoked or expired."""

    code = "AUTH_INVALID_API_KEY"


class InvalidKeyFormat(PigeonholeError):
    """Raised when the Authorization header is not `Bearer <key>`."""

    code = "AUTH_INVALID_FORMAT"


class TooManyWrongKeys(PigeonholeError):
    """Raised instead of `InvalidKey` when a client address has sent many wrong keys."""

    code = "RATE_WRONG_KEY_LIMIT_EXCEEDED"


class RequestRateExceeded(PigeonholeError):
    """Raised when the account has made the requests that its tier allows in a minute."""

    code = "RATE_REQUEST_LIMIT_EXCEEDED"
    retryable = True


class TokenRateExceeded(PigeonholeError):
    """Raised when a request has more tokens than the tier of the account has left this minute."""

    code = "RATE_TOKEN_LIMIT_EXCEEDED"
    retryable = True


class RequestAboveTokenRate(TokenRateExceeded):
    """Raised when one request has more tokens than the tier allows in a minute: it never fits."""

    retryable = False


class ScopeNotAllowed(PigeonholeError):
    """Raised when a valid key may not use this endpoint."""

    code = "AUTHZ_SCOPE_NOT_ALLOWED"


class ServiceNotAllowed(PigeonholeError):
    """Raised when a key is limited to other services."""

    code = "AUTHZ_SERVICE_NOT_ALLOWED"


class AccountSuspended(PigeonholeError):
    """Raised when the operator has suspended the account of the key."""

    code = "AUTHZ_ACCOUNT_SUSPENDED"


class InsufficientBalance(PigeonholeError):
    """Raised before any work when the account has no tokens left, or fewer than a batch needs."""

    code = "AUTHZ_INSUFFICIENT_BALANCE"


class PaymentRequired(InsufficientBalance):
    """Raised instead of InsufficientBalance by the Classer API, which has another status for it."""


class ResourceLimitExceeded(PigeonholeError):
    """Raised when an account has the maximum number of a resource."""

    code = "AUTHZ_RESOURCE_LIMIT_EXCEEDED"


class NotFound(PigeonholeError):
    """Raised when the account has no object of that name."""

    code = "RESOURCE_NOT_FOUND"


class MethodNotAllowed(PigeonholeError):
    """Raised when the path exists but not for this HTTP method."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(PigeonholeError):
    """Raised when the resource is busy, or its state forbids the operation."""

    code = "CONFLICT_RESOURCE_BUSY"


class TooBusy(PigeonholeError):
    """Raised when a queue, an API process or an account has no room for a further call."""

    code = "RATE_CONCURRENCY_LIMIT_EXCEEDED"
    retryable = outage = True


class Unavailable(PigeonholeError):
    """Raised when a component of the service is unavailable; the same call may succeed later."""

    code = "SERVICE_UNAVAILABLE"
    retryable = outage = True


class BrokerUnavailable(Unavailable):
    """Raised when Redis does not respond within its timeout."""


class BrokerFull(BrokerUnavailable):
    """Raised when Redis reads but rejects writes: its disk or memory is full."""

    code = "STORAGE_FULL"


class StoreUnavailable(Unavailable):
    """Raised when the object store does not respond within its timeout."""


class StoreFull(StoreUnavailable):
    """Raised when the object store has no room for a write. Reads and deletions still work."""

    code = "STORAGE_FULL"


class DeadlineExceeded(PigeonholeError):
    """Raised when a result is not ready within the deadline of the request."""

    code = "SERVICE_TIMEOUT"
    retryable = True


class WorkFailed(PigeonholeError):
    """Raised when a part of a job has failed in every allowed attempt."""


class ObjectMissing(PigeonholeError):
    """Raised when the object store has no object of that name."""


class PreconditionFailed(PigeonholeError):
    """Raised when the condition of a write does not hold: another writer changed the object."""


class IllegalTransition(PigeonholeError):
    """Raised when a job's state does not allow an event, or the event is of an older attempt."""


class LeaseLost(PigeonholeError):
    """Raised when the lease token of a task is no longer valid."""


class ClocksDisagree(PigeonholeError):
    """Raised when the clocks of this machine, Redis and the object store differ."""


class MessageUndecodable(PigeonholeError):
    """Raised when bytes from the broker are not a message of a known schema."""


class MessageTooNew(MessageUndecodable):
    """Raised when a newer process wrote the message; a process of that version can read it."""

    retryable = outage = True


class ConfigurationError(PigeonholeError):
    """Raised at start when a setting is wrong, or a server lacks a required feature."""


# Codes of batch rows that never began; no exception has them. All are retryable.
BATCH_EXPIRED = "batch_expired"
BATCH_CANCELLED = "batch_cancelled"
BATCH_FAILED = "batch_failed"
INSUFFICIENT_BALANCE = "insufficient_balance"


def tree(root: type[PigeonholeError] = PigeonholeError) -> list[type[PigeonholeError]]:
    """Every class of the tree, root first."""
    return [root, *(cls for child in root.__subclasses__() for cls in tree(child))]
