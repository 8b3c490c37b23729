"""Replies to waiting callers: one Redis list per API process, read by one of its waiting threads.

The thread that waits first reads for all: it gives each reply to the thread that waits for it, and
once it has its own, another one reads on. So the replies to all calls of a forward pass take one
command of the worker and one of the API, and no thread is needed beside those that wait.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from shared import ids
from shared.adapters.redis.client import broker_errors
from shared.errors import PigeonholeError

_SLICE_S = 1.0  # longest single blocking wait: a frozen server is noticed within the timeout
_REPLIES = 16  # read at once: a large one delays no more than these


class RedisReplies:
    """`shared.ports.Replies` on Redis.

    A reply name is that of the list, a slash, and that of the call; an element of the list is the
    name of the call, a line end, and the reply. A name without a slash, as API processes of earlier
    versions have them, is a list for one reply.
    """

    def __init__(self, client: redis.Redis, *, prefix: str = "ph:reply:") -> None:
        self._client: Any = client  # redis-py types every answer as str or bytes or awaitable
        self._prefix = prefix
        self._list = ids.token()
        self._lock = threading.Lock()
        self._expected: dict[str, _Expected] = {}
        self._followers: dict[_Expected, None] = {}  # whose threads wait and do not read, in order
        self._led = False  # a thread reads

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        lists: dict[str, list[bytes]] = {}
        for reply_to, answer in answers:
            name, slash, call = reply_to.partition("/")
            element = b"%b\n%b" % (call.encode(), answer) if slash else answer
            lists.setdefault(name, []).append(element)
        with broker_errors(), self._client.pipeline(transaction=False) as pipe:
            for name, elements in lists.items():
                pipe.rpush(self._prefix + name, *elements)
                pipe.pexpire(self._prefix + name, round(keep_s * 1000))
            pipe.execute()

    @contextmanager
    def expected(self) -> Iterator[str]:
        reply_to = f"{self._list}/{ids.token()}"
        with self._lock:
            self._expected[reply_to] = _Expected()
        try:
            yield reply_to
        finally:
            with self._lock:
                del self._expected[reply_to]

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        """Read for all, or let another thread do so."""
        own = self._expected[reply_to]
        until = time.monotonic() + timeout_s
        try:
            while own.reply is None and (left_s := until - time.monotonic()) > 0:
                if own.error is not None:
                    raise own.error
                if self._leads(own):
                    self._read(min(left_s, _SLICE_S))
                else:
                    own.turn.acquire(timeout=left_s)
        finally:
            self._leave(own)
        return own.reply

    def _leads(self, own: _Expected) -> bool:
        """Whether this thread is to read; if not, another one reads now."""
        with self._lock:
            leads, self._led = not self._led, True
            if leads:
                self._followers.pop(own, None)
            else:
                self._followers[own] = None
        return leads

    def _leave(self, own: _Expected) -> None:
        """Have another thread read on, if none does."""
        with self._lock:
            self._followers.pop(own, None)
            if not self._led and self._followers:
                self._wake(next(iter(self._followers)))

    def _read(self, timeout_s: float) -> None:
        """Read replies, and wake the threads that wait for them."""
        try:
            with broker_errors():
                # Redis reads a timeout of 0 as «for ever».
                found = self._client.blmpop(
                    max(0.001, timeout_s),
                    1,
                    self._prefix + self._list,
                    direction="LEFT",
                    count=_REPLIES,
                )
        except PigeonholeError as exc:
            with self._lock:
                for each in [*self._followers]:
                    each.error = copy.copy(exc)
                    self._wake(each)
            raise
        finally:
            with self._lock:
                self._led = False
        with self._lock:
            for element in found[1] if found else ():
                call, _, reply = element.partition(b"\n")
                expected = self._expected.get(f"{self._list}/{call.decode()}")
                if expected is not None:  # else its caller waits no more
                    expected.reply = reply
                    self._wake(expected)

    def _wake(self, expected: _Expected) -> None:
        self._followers.pop(expected, None)
        if expected.turn.locked():
            expected.turn.release()


class _Expected:
    """A call whose reply is expected."""

    __slots__ = ("error", "reply", "turn")

    def __init__(self) -> None:
        self.turn = threading.Lock()  # released to wake the thread that waits
        self.turn.acquire()
        self.reply: bytes | None = None
        self.error: PigeonholeError | None = None
