"""HTTP with the service: one connection pool, retries, streams and server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import httpx

from pigeonhole_client import _http
from pigeonhole_client._config import Address
from pigeonhole_client._http import ApiCall, Attempts, Event, EventParser, OnWait
from pigeonhole_client._runtime import AsyncRuntime
from pigeonhole_client.errors import ApiError, ConnectionFailed, api_error

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
_SILENCE_S = 60.0  # the service sends a comment every 15 s


class AsyncTransport:
    """Sends calls, and sends them again while the service is away or busy.

    Args:
        address: Where the service is, and the key.
        timeout_s: Longest wait for an answer.
        patience_s: How long a service that is away or busy is waited for, a call.
        on_wait: Told before each such wait.
        http: The client of httpx to use instead of an own one.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        patience_s: float,
        on_wait: OnWait | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.address = address
        self.patience_s = patience_s
        self.runtime = AsyncRuntime()
        self._on_wait = on_wait
        self._timeout_s = timeout_s
        self._http = http or httpx.AsyncClient()
        self._headers = {
            "Authorization": f"Bearer {address.api_key}",
            "User-Agent": _http.user_agent(),
        }

    def patient(self, patience_s: float) -> Self:
        """The same transport, on the same connections, with another patience."""
        return type(self)(
            self.address,
            timeout_s=self._timeout_s,
            patience_s=patience_s,
            on_wait=self._on_wait,
            http=self._http,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: ApiCall) -> bytes:
        """The body of the answer.

        Raises:
            ApiError: The service refused the call.
            ConnectionFailed: There was no answer within the patience.
        """

        async def whole() -> bytes:
            response = await self._open(call)
            try:
                return await self._read(response)
            finally:
                await response.aclose()

        return await self._tried(call, whole)

    @asynccontextmanager
    async def stream(self, call: ApiCall) -> AsyncIterator[httpx.Response]:
        """The answer while its body still comes; it is not asked for again once it has begun.

        Raises:
            ApiError, ConnectionFailed: As for `send`.
        """
        response = await self._tried(call, lambda: self._open(call))
        try:
            yield response
        except httpx.TransportError as exc:
            raise _http.connection_failed(exc, self.address.base_url) from exc
        finally:
            await response.aclose()

    async def events(self, path: str, *, after: str = "") -> AsyncIterator[Event]:
        """Server-sent events, after the one with the id `after`, until the service ends them."""
        headers: Mapping[str, str] = {"Last-Event-ID": after} if after else {}
        parser = EventParser()
        call = ApiCall(
            method="GET",
            path=path,
            headers={"Accept": "text/event-stream", **headers},
            min_timeout_s=_SILENCE_S,
        )
        async with self.stream(call) as response:
            async for line in response.aiter_lines():
                event = parser.feed(line)
                if event is not None:
                    yield event

    def attempts(self, call: ApiCall) -> Attempts:
        """The attempts of a call that has not failed yet."""
        return Attempts(call=call, patience_s=self.patience_s)

    async def waited(self, attempts: Attempts, error: ApiError | ConnectionFailed) -> None:
        """Wait before the next attempt.

        Raises:
            ApiError, ConnectionFailed: The error itself, where there is none.
        """
        delay = attempts.wait_s(error, time.monotonic())
        if self._on_wait is not None:
            self._on_wait(delay, error)
        await self.runtime.sleep(delay)

    async def _tried(self, call: ApiCall, attempt: Callable[[], Awaitable[T]]) -> T:
        """What an attempt brings, made again as often as that is of use."""
        attempts = self.attempts(call)
        while True:
            try:
                return await attempt()
            except (ApiError, ConnectionFailed) as exc:
                await self.waited(attempts, exc)

    async def _open(self, call: ApiCall) -> httpx.Response:
        request = self._http.build_request(
            call.method,
            self.address.base_url + call.path,
            timeout=httpx.Timeout(
                max(self._timeout_s, call.min_timeout_s),
                connect=min(self._timeout_s, _CONNECT_TIMEOUT_S),
            ),
            **self._arguments(call),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as exc:
            raise _http.connection_failed(exc, self.address.base_url) from exc
        if response.is_success:
            return response
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        raise api_error(response.status_code, response.headers, body)

    def _arguments(self, call: ApiCall) -> dict[str, Any]:
        arguments = call.arguments()
        arguments["headers"] = {**self._headers, **arguments["headers"]}
        return arguments

    async def _read(self, response: httpx.Response) -> bytes:
        try:
            return await response.aread()
        except httpx.TransportError as exc:
            raise _http.connection_failed(exc, self.address.base_url) from exc
