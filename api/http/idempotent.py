"""`Idempotency-Key` for views: a call runs once, and repetitions get its response."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, request

from api.http import error_handlers, middleware
from api.services.idempotency import Idempotency, StoredAnswer, canonical, pack, unpack
from shared.errors import Unavailable
from shared.telemetry import Log

log = Log("idempotency")

HEADER = "Idempotency-Key"
MARGIN_S = 30.0  # what reading and rendering may add to the wait of a call
_KEPT = ("Content-Type", "Location", "Retry-After", "Preference-Applied", "X-Model", "X-Engine")


def once(
    idempotency: Idempotency,
    payload: bytes,
    run: Callable[[str | None], Response],
    *,
    reserve_s: float,
    as_it_stands: Callable[[StoredAnswer], Response | None] | None = None,
) -> Response:
    """The answer of `run`, or the one that the same call was given before.

    Args:
        idempotency: The uses of keys.
        payload: What makes two calls the same, beside path and key.
        run: The call, given the id of the job it is to make if it makes one, or None where the
            client does not say which calls are the same; its error is an answer like any other.
        reserve_s: Longest time that `run` takes.
        as_it_stands: Makes the body of a replay anew where it shows something that changes, such as
            the state of a job; None where the stored answer holds.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return run(None)
    account = middleware.caller().account
    same = request.path.encode() + b"\n" + canonical(payload)
    held = idempotency.begin(account, key, same, reserve_s=reserve_s)
    if isinstance(held, StoredAnswer):
        current = as_it_stands(held) if as_it_stands else None
        body = current.get_data() if current else unpack(held)
        headers = {**held.headers, "Idempotent-Replayed": "true"}
        return Response(body, held.status, headers)
    try:
        response = run(held.use.job_id)
    except Exception as exc:  # noqa: BLE001  whatever it is, the key must not stay reserved
        response = error_handlers.answer(exc)
    headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
    try:
        idempotency.finish(held, pack(response.status_code, headers, response.get_data()))
    except Unavailable as exc:  # the work is done; only a replay will be refused for a while
        log.warning("idempotency.not_kept", reason=exc.detail)
    return response
