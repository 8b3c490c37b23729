"""When a request is sent again, and how inputs are cut into requests."""

from __future__ import annotations

import pytest
from pigeonhole_client import _http
from pigeonhole_client._http import ApiCall, Attempts
from pigeonhole_client.errors import ApiError, ConnectionFailed, Error, api_error

CALL = ApiCall(method="POST", path="/v1/classify")


def answered(status: int, code: str = "", retry_after: str | None = None) -> ApiError:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return api_error(status, headers, b'{"code": "%s", "detail": "d"}' % code.encode())


def attempts(patience_s: float = 60, call: ApiCall = CALL) -> Attempts:
    return Attempts(call=call, patience_s=patience_s)


@pytest.mark.parametrize(
    "error",
    [
        answered(429, "RATE_CONCURRENCY_LIMIT_EXCEEDED", "1"),
        answered(503, "SERVICE_UNAVAILABLE", "2"),
        answered(502),
        answered(504, "SERVICE_TIMEOUT"),
        answered(409, "CONFLICT_RESOURCE_BUSY", "1"),
        ConnectionFailed("refused"),
    ],
)
def test_what_may_pass_is_waited_out(error: Error) -> None:
    delay = attempts().wait_s(error, now=0.0)

    assert delay >= (getattr(error, "retry_after_s", None) or 0.0)
    assert 0 < delay <= 8


@pytest.mark.parametrize(
    "error",
    [
        answered(401, "AUTH_INVALID_API_KEY"),
        answered(422, "VALIDATION_ERROR"),
        answered(404, "RESOURCE_NOT_FOUND"),
        answered(409, "CONFLICT_RESOURCE_BUSY"),
        answered(507, "STORAGE_FULL"),
        answered(429, "RATE_WRONG_KEY_LIMIT_EXCEEDED", "1"),
    ],
)
def test_what_will_not_pass_is_raised_at_once(error: Error) -> None:
    with pytest.raises(type(error)):
        attempts().wait_s(error, now=0.0)


def test_the_patience_counts_from_the_first_failure() -> None:
    waiting = attempts(patience_s=10)
    waiting.wait_s(ConnectionFailed("a"), now=1000.0)
    waiting.wait_s(ConnectionFailed("b"), now=1005.0)

    with pytest.raises(ConnectionFailed, match="c"):
        waiting.wait_s(ConnectionFailed("c"), now=1010.5)


def test_a_retry_after_beyond_the_patience_is_raised_at_once() -> None:
    with pytest.raises(ApiError):
        attempts(patience_s=10).wait_s(answered(429, retry_after="30"), now=0.0)


def test_a_fault_of_the_service_is_tried_twice_more() -> None:
    waiting = attempts()
    for _ in range(2):
        waiting.wait_s(answered(500, "INTERNAL_ERROR"), now=0.0)

    with pytest.raises(ApiError):
        waiting.wait_s(answered(500, "INTERNAL_ERROR"), now=0.0)


def test_a_timeout_of_many_inputs_is_raised_so_that_fewer_are_sent() -> None:
    call = ApiCall(method="POST", path="/v1/classify", waits_out_timeouts=False)

    with pytest.raises(ApiError):
        attempts(call=call).wait_s(answered(504, "SERVICE_TIMEOUT"), now=0.0)
    assert _http.smaller(answered(504, "SERVICE_TIMEOUT"), 256) == 128
    assert _http.smaller(answered(504, "SERVICE_TIMEOUT"), 1) is None


def test_chunks_keep_order_and_both_bounds() -> None:
    texts = ["x" * (number % 50) for number in range(1000)]

    cut = list(_http.chunks(texts, max_items=64, max_bytes=900))

    assert [text for chunk in cut for text in chunk] == texts
    assert max(map(len, cut)) <= 64
    assert all(sum(len(text) + 3 for text in chunk) <= 900 for chunk in cut)


def test_an_item_larger_than_the_bound_goes_alone() -> None:
    assert list(_http.chunks(["a", "b" * 100, "c"], max_items=9, max_bytes=20)) == [
        ["a"],
        ["b" * 100],
        ["c"],
    ]


def test_an_answer_of_a_proxy_is_an_error_too() -> None:
    error = api_error(502, {}, b"<html>Bad Gateway</html>")

    assert str(error) == "the answer has status 502 and no reason (HTTP 502)"
