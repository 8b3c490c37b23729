"""The error tree: everything Pigeonhole raises on purpose, and what it means to a caller.

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
    ├── ScopeNotAllowed                 AUTHZ_SCOPE_NOT_ALLOWED
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
    ├── WorkFailed                      INTERNAL_ERROR      a part was given up after its attempts
    ├── ObjectMissing                   INTERNAL_ERROR      the object store has no such name
    ├── PreconditionFailed              INTERNAL_ERROR      somebody else wrote the object first
    ├── IllegalTransition               INTERNAL_ERROR      a job was told what its state forbids
    ├── LeaseLost                       INTERNAL_ERROR      another worker holds the part now
    ├── ClocksDisagree                  INTERNAL_ERROR      nothing is deleted: its age is in doubt
    ├── MessageUndecodable              INTERNAL_ERROR      bytes that are no message of ours
    │   └── MessageTooNew                                                 retryable, outage
    └── ConfigurationError              INTERNAL_ERROR      settings or server unfit to start

`retryable`: the same request, or the same row of a batch, may succeed later without a change to it.
The error lines and the `summary` of a batch say so, and a retry takes such rows. `outage`: the
service fails, not the request, so a worker gives the work back and it is done again by itself.
The status of each code stands in `shared.statuses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One wrong field of a request: where it is, what is wrong, and what to do.

    `field` is a path such as ``input[3].text``; the value itself is never repeated.
    """

    field: str
    message: str
    type: str = "value_error"


class PigeonholeError(Exception):
    """Root of the tree; `str(error)` is a sentence that may be shown to the caller."""

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


class InvalidRequest(PigeonholeError):
    """Raised when the request's shape or a value in it is wrong."""

    code = "VALIDATION_ERROR"


class BodyTooLarge(InvalidRequest):
    """Raised when the body exceeds what its route needs, before it is read."""


class ContentEncodingNotSupported(InvalidRequest):
    """Raised when the body is encoded in a way that is not decoded on its path."""


class BodyTimeout(InvalidRequest):
    """Raised when the client does not send the body in time; the connection is closed."""

    code = "REQUEST_TIMEOUT"


class LabelsRequired(InvalidRequest):
    """Raised when a classify request names neither labels nor a classifier."""

    code = "INPUT_LABELS_REQUIRED"


class EtagMismatch(InvalidRequest):
    """Raised when `If-Match` names other bytes than those of the file."""


class RangeNotSatisfiable(InvalidRequest):
    """Raised when a file has none of the bytes that `Range` asks for; `size` is what it has."""

    def __init__(self, detail: str, *, size: int = 0, **more: Any) -> None:
        super().__init__(detail, **more)
        self.size = size


class IdempotencyKeyReused(InvalidRequest):
    """Raised when an `Idempotency-Key` was used with another request; 422 on every path."""


class ModelNotFound(PigeonholeError):
    """Raised when no model or alias of the catalogue has the name."""

    code = "INPUT_MODEL_NOT_FOUND"


class InvalidLabels(PigeonholeError):
    """Raised when fewer than two distinct labels are given."""

    code = "INPUT_INVALID_LABELS"


class LabelLimitExceeded(PigeonholeError):
    """Raised when there are more labels or label groups than the limit."""

    code = "INPUT_LABEL_LIMIT_EXCEEDED"


class TokenLimitExceeded(PigeonholeError):
    """Raised when one input has more tokens than the limit; names its index."""

    code = "INPUT_TOKEN_LIMIT_EXCEEDED"


class FetchFailed(PigeonholeError):
    """Raised when a URL could not be read: refused, not found, too large, of a wrong type."""

    code = "INPUT_FETCH_FAILED"


class FetchInterrupted(FetchFailed):
    """Raised when a URL could not be read for now: its server was too slow, away, or failed."""

    retryable = True


class UnreadableInput(PigeonholeError):
    """Raised when a image or a document is broken, too large, or of a kind that is not read."""

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
    """Raised instead of `InvalidKey` when the address has sent many wrong keys."""

    code = "RATE_WRONG_KEY_LIMIT_EXCEEDED"


class ScopeNotAllowed(PigeonholeError):
    """Raised when a valid key may not use this endpoint."""

    code = "AUTHZ_SCOPE_NOT_ALLOWED"


class ResourceLimitExceeded(PigeonholeError):
    """Raised when an account has as many of something as it may."""

    code = "AUTHZ_RESOURCE_LIMIT_EXCEEDED"


class NotFound(PigeonholeError):
    """Raised when nothing of that name exists for this account."""

    code = "RESOURCE_NOT_FOUND"


class MethodNotAllowed(PigeonholeError):
    """Raised when the path exists but not for this HTTP method."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(PigeonholeError):
    """Raised when the resource is busy, or its state forbids the call."""

    code = "CONFLICT_RESOURCE_BUSY"


class TooBusy(PigeonholeError):
    """Raised when a queue or the front end holds as many waiting calls as it may."""

    code = "RATE_CONCURRENCY_LIMIT_EXCEEDED"
    retryable = outage = True


class Unavailable(PigeonholeError):
    """Raised when a part of the service is away; the same call may work later."""

    code = "SERVICE_UNAVAILABLE"
    retryable = outage = True


class BrokerUnavailable(Unavailable):
    """Raised when Redis does not answer within its time bound."""


class BrokerFull(BrokerUnavailable):
    """Raised when Redis reads but takes no writes: its disk or its memory is full."""

    code = "STORAGE_FULL"


class StoreUnavailable(Unavailable):
    """Raised when the object store does not answer within its time bound."""


class StoreFull(StoreUnavailable):
    """Raised when the object store has no room for what is written. Reading and deleting work."""

    code = "STORAGE_FULL"


class DeadlineExceeded(PigeonholeError):
    """Raised when the answer did not come within the caller's deadline."""

    code = "SERVICE_TIMEOUT"
    retryable = True


class WorkFailed(PigeonholeError):
    """Raised when a part of a job was attempted as often as allowed and did not end."""


class ObjectMissing(PigeonholeError):
    """Raised when the object store has no object of that name."""


class PreconditionFailed(PigeonholeError):
    """Raised when a conditional write met another writer's object."""


class IllegalTransition(PigeonholeError):
    """Raised when a job's state does not allow the event, or the event is of an older attempt."""


class LeaseLost(PigeonholeError):
    """Raised when a part is no longer held by the caller's token."""


class ClocksDisagree(PigeonholeError):
    """Raised when the clocks of this machine, of Redis and of the object store differ."""


class MessageUndecodable(PigeonholeError):
    """Raised when bytes from the broker are not a message of a schema we know."""


class MessageTooNew(MessageUndecodable):
    """Raised when a newer process wrote the message; one as new as that can read it."""

    retryable = outage = True


class ConfigurationError(PigeonholeError):
    """Raised at start when a setting is wrong or a server lacks what is needed."""


# Rows of a batch that were never begun have one of these codes, by no error: all are retryable.
BATCH_EXPIRED = "batch_expired"
BATCH_CANCELLED = "batch_cancelled"
BATCH_FAILED = "batch_failed"


def tree(root: type[PigeonholeError] = PigeonholeError) -> list[type[PigeonholeError]]:
    """Every class of the tree, root first."""
    return [root, *(cls for child in root.__subclasses__() for cls in tree(child))]
