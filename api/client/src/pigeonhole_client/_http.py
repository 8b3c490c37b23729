"""Requests, and when one is sent again: the part of the transport that does no I/O."""

from __future__ import annotations

import random
import re
import socket
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any, TypeVar

import httpx
import msgspec

from pigeonhole_client.errors import (
    ApiError,
    BadRequest,
    ConnectionFailed,
    Error,
    FieldProblem,
    InternalError,
    TooManyWrongKeys,
)

T = TypeVar("T")

OnWait = Callable[[float, Error], None]
"""Called before the client waits: the seconds, and why."""

Form = Mapping[str, tuple[str, bytes | IO[bytes]]]
"""Files of a multipart form by field: name and content."""

_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 8.0
_MAX_FAULTS = 2  # a fault of the service seldom goes away by itself
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_INPUT = re.compile(r"\binput\[(\d+)\]")


def user_agent() -> str:
    """The client and its version, for the log of the service."""
    try:
        return f"pigeonhole-client/{version('pigeonhole-client')}"
    except PackageNotFoundError:  # run from a source tree
        return "pigeonhole-client"


def new_key() -> str:
    """A new `Idempotency-Key`."""
    return uuid.uuid4().hex


@dataclass(frozen=True, kw_only=True)
class ApiCall:
    """One request to the service; sent again, it is the same request.

    Args:
        method: HTTP method.
        path: Below the base URL, with a slash at its start.
        body: Sent as JSON; None: no body.
        params: Query parameters; those that are None are left out.
        headers: Beside those of every request.
        fields: Fields of a multipart form, beside the `form`.
        form: Opens the files of a multipart form anew for each attempt.
        key: The `Idempotency-Key`; empty: none.
        waits_out_timeouts: Whether 504 is waited out. Not where a smaller request would succeed.
        min_timeout_s: Least wait for the next bytes of the answer, whatever the transport's is.
    """

    method: str
    path: str
    body: Any = None
    params: Mapping[str, str | int | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    form: Callable[[], Form] | None = None
    key: str = ""
    waits_out_timeouts: bool = True
    min_timeout_s: float = 0.0

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for httpx."""
        headers = dict(self.headers)
        if self.key:
            headers["Idempotency-Key"] = self.key
        made: dict[str, Any] = {
            "params": {k: str(v) for k, v in self.params.items() if v is not None},
            "headers": headers,
        }
        if self.form is not None:
            made |= {"files": self.form(), "data": dict(self.fields)}
        elif self.body is not None:
            headers["Content-Type"] = "application/json"
            made["content"] = msgspec.json.encode(self.body)
        return made


@dataclass(kw_only=True)
class Attempts:
    """The attempts of one call: how long to wait before the next one, or that there is none.

    Args:
        call: The call.
        patience_s: How long a service that is away or busy is waited for, from the first failure.
    """

    call: ApiCall
    patience_s: float
    _failures: int = 0
    _faults: int = 0
    _failed_at: float | None = None

    def wait_s(self, error: Error, now: float) -> float:
        """Seconds to wait after an error, by a clock that says `now`.

        Raises:
            Error: The error itself, where another attempt is of no use or too late.
        """
        self._failed_at = now if self._failed_at is None else self._failed_at
        self._faults += isinstance(error, InternalError)
        delay = min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0**self._failures) * random.uniform(0.5, 1.0)
        self._failures += 1
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        late = now + delay - self._failed_at > self.patience_s
        if late or self._faults > _MAX_FAULTS or not _may_pass(error, self.call):
            raise error
        return delay


def _may_pass(error: Error, call: ApiCall) -> bool:
    if isinstance(error, ConnectionFailed):
        return not _is_lasting(error)
    if not isinstance(error, ApiError) or isinstance(error, TooManyWrongKeys):
        return False
    if error.status == 409:  # the first call with the Idempotency-Key still runs
        return error.retry_after_s is not None
    if error.status == 504 and not call.waits_out_timeouts:
        return False
    return error.status in _MAY_PASS


def _is_lasting(error: BaseException) -> bool:
    """Whether a connection failed for a reason that stays: an unknown host, a bad certificate."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError | httpx.UnsupportedProtocol):
            return True
        if isinstance(cause, socket.gaierror):
            return cause.errno != socket.EAI_AGAIN
        cause = cause.__cause__ or cause.__context__
    return False


def connection_failed(error: httpx.HTTPError, base_url: str) -> ConnectionFailed:
    """What became of a connection, in one sentence."""
    what = "gave no answer in time" if isinstance(error, httpx.TimeoutException) else "is away"
    reason = str(error) or type(error).__name__
    return ConnectionFailed(f"the service at {base_url} {what}: {reason}")


def decoded(kind: type[T], body: bytes) -> T:
    """A body of JSON as a record.

    Raises:
        Error: It is not such a record: something else than the service has answered.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as exc:
        raise Error(f"the answer is not one of the service: {exc}") from exc


@dataclass(frozen=True)
class Event:
    """One server-sent event. `id` is the `Last-Event-ID` that continues after it."""

    id: str
    data: bytes


class EventParser:
    """Server-sent events out of lines; comments and other fields are skipped.

    >>> parser = EventParser()
    >>> [parser.feed(line) for line in (": hello", "id: 7", 'data: {"a":1}', "")][-1]
    Event(id='7', data=b'{"a":1}')
    """

    def __init__(self) -> None:
        self._id = ""
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """The event that the line ends, if it ends one."""
        if not line:
            data, self._data = self._data, []
            return Event(self._id, "\n".join(data).encode()) if data else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        return None


def chunks(items: Iterable[Any], *, max_items: int, max_bytes: int) -> Iterator[list[Any]]:
    """Items in order, in lists of at most so many items and bytes of JSON; one item at least.

    >>> list(chunks(["aa", "bb", "c"], max_items=2, max_bytes=100))
    [['aa', 'bb'], ['c']]
    """
    chunk: list[Any] = []
    size = 0
    for item in items:
        bytes_of_item = len(msgspec.json.encode(item)) + 1
        if chunk and (len(chunk) == max_items or size + bytes_of_item > max_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += bytes_of_item
    if chunk:
        yield chunk


def shifted(error: BadRequest, offset: int) -> BadRequest:
    """An error about a chunk of inputs, with the indices of all inputs.

    >>> print(shifted(BadRequest("input[3]: is empty", status=422, code="C"), 256))
    input[259]: is empty (C)
    """

    def moved(text: str) -> str:
        return _INPUT.sub(lambda match: f"input[{int(match[1]) + offset}]", text)

    made = type(error)(
        moved(error.detail),
        status=error.status,
        code=error.code,
        fields=tuple(FieldProblem(moved(e.field), moved(e.message)) for e in error.fields),
        request_id=error.request_id,
        retry_after_s=error.retry_after_s,
    )
    made.__cause__ = error
    return made


def smaller(error: ApiError, count: int) -> int | None:
    """How many inputs to send instead of `count`, where fewer may succeed; else None."""
    if count < 2:
        return None
    if error.status in {413, 504}:
        return count // 2
    for each in error.fields:
        match = _INPUT.fullmatch(each.field)
        if match and each.message.startswith("at most") and 0 < int(match[1]) < count:
            return int(match[1])
    return None
