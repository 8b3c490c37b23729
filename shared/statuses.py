"""The one table of HTTP statuses, for responses and for the lines of batches."""

from __future__ import annotations

from http import HTTPStatus

from shared import errors
from shared.errors import PigeonholeError

STATUS: dict[type[PigeonholeError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ContentEncodingNotSupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.EtagMismatch: HTTPStatus.PRECONDITION_FAILED,
    errors.RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    errors.LabelsRequired: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ModelNotFound: HTTPStatus.BAD_REQUEST,
    errors.InvalidLabels: HTTPStatus.BAD_REQUEST,
    errors.LabelLimitExceeded: HTTPStatus.BAD_REQUEST,
    errors.TokenLimitExceeded: HTTPStatus.BAD_REQUEST,
    errors.FetchFailed: HTTPStatus.BAD_REQUEST,
    errors.FetchInterrupted: HTTPStatus.BAD_REQUEST,
    errors.UnreadableInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.MissingKey: HTTPStatus.UNAUTHORIZED,
    errors.InvalidKey: HTTPStatus.UNAUTHORIZED,
    errors.InvalidKeyFormat: HTTPStatus.UNAUTHORIZED,
    errors.TooManyWrongKeys: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RequestRateExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TokenRateExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RequestAboveTokenRate: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ScopeNotAllowed: HTTPStatus.FORBIDDEN,
    errors.ServiceNotAllowed: HTTPStatus.FORBIDDEN,
    errors.AccountSuspended: HTTPStatus.FORBIDDEN,
    errors.InsufficientBalance: HTTPStatus.FORBIDDEN,
    errors.PaymentRequired: HTTPStatus.PAYMENT_REQUIRED,
    errors.ResourceLimitExceeded: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooBusy: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BrokerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BrokerFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.PigeonholeError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.WorkFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ObjectMissing: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.PreconditionFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.IllegalTransition: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LeaseLost: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ClocksDisagree: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.MessageUndecodable: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.MessageTooNew: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
