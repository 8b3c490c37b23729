"""The body of one request on the event loop: buffered, streamed or discarded as it arrives.

A buffered body is complete before the application sees it. A body above `SMALL_BYTES` is accepted
only with a valid key and with bytes from the budget of the process. A large upload is streamed to a
thread that reads it. The body of a refused request is read and discarded for a while: a client that
writes its whole body before it reads would otherwise see a closed connection instead of the
response.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from enum import Enum, auto
from typing import BinaryIO, Protocol, cast

from api.server.client_deadlines import BYTES_PER_S, TransferDeadline
from api.server.request import HttpRequest
from api.server.shared_state import ServerState
from api.server.upload_stream import UploadStream
from shared.errors import (
    BodyTimeout,
    BodyTooLarge,
    FieldError,
    InvalidRequest,
    PigeonholeError,
    Unavailable,
)

SMALL_BYTES = 64 * 1024
_STEP_BYTES = 1024 * 1024  # by which a body of unknown length takes from the budget
_DISCARD_BYTES = 128 * 2**20
_DISCARD_S = 10.0
_NEVER = math.inf


class BodySource(Protocol):
    """The connection, as its body sees it."""

    address: str

    def pause(self) -> None:
        """Take no more from the client."""

    def resume(self) -> None:
        """Go on."""

    def send_continue(self) -> None:
        """Tell a client that awaits it to send the body."""

    def dispatch(self) -> None:
        """Let the application answer: the body is there, is handed on, or was refused."""

    def close_after_answer(self) -> None:
        """Take no other request from the client."""

    def close(self) -> None:
        """Close as soon as the request is answered: the rest of its body is not waited for."""

    def from_thread(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the event loop."""


class _Mode(Enum):
    KEEP = auto()
    HAND_ON = auto()
    DISCARD = auto()


class Body:
    """What is done with the bytes of a request.

    Attributes:
        deadline: When `late` is to be called.
        refusal: Why the application is not to see the request.
    """

    def __init__(
        self,
        site: ServerState,
        client: BodySource,
        request: HttpRequest,
        *,
        max_bytes: int,
        streamed: bool,
    ) -> None:
        self._site = site
        self._client = client
        self._request = request
        self._max_bytes = max_bytes
        self._mode = _Mode.HAND_ON if streamed else _Mode.KEEP
        self._pieces: list[bytes] = []
        self._size = 0
        self._stream: UploadStream | None = None
        self._pace = TransferDeadline(site.body_timeout_s, now=site.now())
        self._paused_at: float | None = None
        self._key_checked = False
        self._awaits_continue = request.awaits_continue
        self._taken = 0  # of the budget
        self._waits_for_budget = False
        self._client_has_left = False
        self.deadline = _NEVER
        self.refusal: PigeonholeError | None = None

    @property
    def holds_bytes(self) -> bool:
        """Whether others may wait for what it has of the budget."""
        return self._taken > 0

    @property
    def input(self) -> BinaryIO:
        """What the application reads."""
        if self._stream is not None:
            return cast("BinaryIO", self._stream)
        pieces, self._pieces = self._pieces, []
        return io.BytesIO(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def begin(self) -> None:
        """Decide what the head of the request lets decide."""
        length = self._request.length
        if length is not None and length > self._max_bytes:
            self.refuse(_too_large(self._max_bytes))
        elif self._mode is _Mode.HAND_ON:
            self._stream = UploadStream(lambda: self._client.from_thread(self._wanted))
            if not self._awaits_continue:
                self.deadline = self._pace.deadline
            self._client.dispatch()
        elif length is not None and length > SMALL_BYTES:
            self._check_key()
        elif self._request.has_body:
            self._await_more()

    def receive(self, piece: bytes) -> None:
        """A piece came."""
        self._size += len(piece)
        if self._mode is _Mode.DISCARD:
            if self._size > _DISCARD_BYTES:
                self._client.close()
            return
        now = self._site.now()
        self._awaits_continue = False
        self._pace.moved(len(piece), now=now)
        if self._stream is not None:
            self.deadline = self._pace.deadline
            if self._stream.feed(piece):
                self._pause(now)
        elif self._size > self._max_bytes:
            self.refuse(_too_large(self._max_bytes))
        else:
            self._pieces.append(piece)
            if self._paused_at is None:
                self.deadline = self._pace.deadline
                if self._size > max(SMALL_BYTES, self._taken):  # it did not say its length
                    self._check_key()

    def complete(self) -> None:
        """The body has come to its end."""
        if self._mode is _Mode.DISCARD:
            return
        if self._stream is not None:
            self._stream.end()
            self.deadline = _NEVER
        elif self._paused_at is None:
            self.deadline = _NEVER
            self._client.dispatch()

    def late(self) -> None:
        """The deadline has passed."""
        self.deadline = _NEVER
        if self._mode is _Mode.DISCARD:
            self._client.close()
            return
        if self._waits_for_budget:
            self._waits_for_budget = False
            self._site.budget.cancel(self)
            self.refuse(
                Unavailable(
                    "too many large request bodies are in flight; try again shortly",
                    retry_after_s=5,
                )
            )
            return
        seconds = self._site.body_timeout_s
        error = BodyTimeout(
            f"the body arrived too slowly: it may pause for at most {seconds:g} s and must "
            f"arrive at {BYTES_PER_S // 1024} KiB/s or faster"
        )
        self._client.close_after_answer()
        if self._stream is not None:
            self._stream.fail(error)
        else:
            self.refuse(error)

    def refuse(self, error: PigeonholeError) -> None:
        """Answer with an error, and throw away what comes of the body."""
        self.refusal = error
        self.discard()
        self._client.dispatch()

    def discard(self) -> None:
        """Throw away what is still to come: the request was answered, or will be without it."""
        if self._mode is _Mode.DISCARD:
            return
        self._mode = _Mode.DISCARD
        self._pieces.clear()
        self.deadline = self._site.now() + _DISCARD_S
        read_from = self._stream is not None and self._stream.read_from
        if self._awaits_continue and not read_from:
            self._client.close_after_answer()  # whether it will send the body is unknown
        self._client.resume()

    def client_left(self) -> None:
        """Nothing more will come."""
        self._client_has_left = True
        self._site.budget.cancel(self)
        self.deadline = _NEVER
        if self._stream is not None and not self._request.complete:
            self._stream.fail(InvalidRequest(f"body: ended after {self._size} bytes"))

    def release(self) -> None:
        """Give back what was taken of the budget."""
        taken, self._taken = self._taken, 0
        if taken:
            self._site.budget.give_back(self._client.address, taken)

    def _check_key(self) -> None:
        """Go on only for a valid key; where it was checked before, only with more of the budget."""
        self._pause(self._site.now())
        if self._key_checked:
            self._take()
            return
        key = self._request.header(b"authorization")

        def check() -> None:
            try:
                self._site.check_key(key)
            except Exception as exc:  # noqa: BLE001  it is answered, whatever it is
                error = exc if isinstance(exc, PigeonholeError) else PigeonholeError(str(exc))
                self._client.from_thread(self._key_is_known, error)
            else:
                self._client.from_thread(self._key_is_known, None)

        if not self._site.polling.submit(check):
            self.refuse(Unavailable("the service is overloaded; try again", retry_after_s=2))

    def _key_is_known(self, error: PigeonholeError | None) -> None:
        if self._mode is not _Mode.KEEP or self._client_has_left:
            return
        if error is not None:
            self.refuse(error)
            return
        self._key_checked = True
        self._take()

    def _take(self) -> None:
        """Take of the budget: all that is announced, else twice what was taken before."""
        if self._request.length is not None:
            count = self._request.length
        else:
            count = max(_STEP_BYTES, self._taken, self._size - self._taken)
            count = min(count, self._max_bytes + SMALL_BYTES - self._taken)

        def taken() -> None:
            self._taken += count
            self._waits_for_budget = False
            self._await_more()

        self._waits_for_budget = True
        if self._site.budget.take(self._client.address, count, self, taken):
            taken()
        else:
            self.deadline = self._site.now() + self._site.body_timeout_s

    def _await_more(self) -> None:
        """Take pieces from the client from now on."""
        now = self._site.now()
        if self._paused_at is not None:
            self._pace.resumed(now - self._paused_at, now=now)
            self._paused_at = None
        if self._request.complete and not self._request.early:
            self.complete()
            return
        if self._awaits_continue:
            self._awaits_continue = False
            self._client.send_continue()
        self.deadline = self._pace.deadline
        self._client.resume()

    def _wanted(self) -> None:
        """The thread that the body is handed on to has read all there is."""
        if self._mode is _Mode.HAND_ON and not self._request.complete:
            self._await_more()

    def _pause(self, now: float) -> None:
        self._client.pause()
        self.deadline = _NEVER
        if self._paused_at is None:
            self._paused_at = now


def _too_large(max_bytes: int) -> BodyTooLarge:
    message = f"at most {max_bytes} bytes are allowed; split the request"
    return BodyTooLarge(f"body: {message}", fields=(FieldError(field="body", message=message),))
