"""Sandboxed file readers: child processes read files in pieces; only the worker has them open.

This module limits the time per file and the number of children, and handles a reader that the
caller closes early.

The child prepares the next piece while the caller uses the current one, and is never further ahead
(backpressure). Time counts while the caller waits for the child: the time of the caller and of the
object store does not count.
"""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

import msgspec

from shared.errors import Unavailable
from shared.telemetry import Log
from workers.sandbox.process import DYING_S, ChildProcess, death, refusal, too_slow
from workers.sandbox.wire import (
    MAX_STRETCH_BYTES,
    MORE,
    STOP,
    Answer,
    ChannelClosed,
    ChildMessage,
    ReadRange,
    ResultPiece,
    SandboxTask,
    TaskDone,
    TaskRefused,
    decode,
    encode,
    send,
)

log = Log("sandbox")
# A file may take `_WHOLE` times the limit of one piece, and a second more for each `_BYTES_PER_S`
# of the file and of its pieces; normal files take a tenth of that.
_WHOLE = 2
_BYTES_PER_S = 1_000_000
_ROOM_S = 60.0
_STOPPING_S = 1.0
_TASKS_EACH = 500
_ENVELOPE_BYTES = 4096  # of a piece, and of an error


class ReaderKilled(Exception):
    """The child was killed from outside while it read a file; a retry may succeed."""


class FileReaders:
    """Children that read files; thread-safe. `close` ends the idle child that is kept warm."""

    def __init__(
        self,
        modules: Sequence[str],
        *,
        memory_bytes: int,
        limit_s: float,
        max_piece_bytes: int,
        at_once: int = 4,
    ) -> None:
        """Store the limits; the first `read` starts a child.

        Args:
            modules: modules whose functions may run; each child imports them when it starts.
            memory_bytes: limit of address space for a file, above that of the imports.
            limit_s: seconds until the next piece of a file.
            max_piece_bytes: limit of a piece; a child that sends a larger one is killed.
            at_once: maximum number of children that read at the same time.
        """
        self._modules = tuple(modules)
        self._memory_bytes = memory_bytes
        self._limit_s = limit_s
        self._max_piece_bytes = max_piece_bytes
        self._room = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._idle: ChildProcess | None = None
        self._closed = False

    def read(
        self, function: Callable[..., Iterator[bytes]], file: BinaryIO, *args: object
    ) -> Generator[bytes, None, None]:
        """Yield the pieces that `function(file, *args)` yields in a child.

        Args:
            function: a top-level function of one of the modules, whose first parameter is `file`;
                the others are annotated with plain values or dataclasses.
            file: a seekable file.
            args: the further arguments, as annotated.

        Raises:
            InvalidRequest: The function raised it.
            UnreadableInput: The function raised it, exceeded a limit, or crashed.
            ReaderKilled: The child was killed from outside.
            Unavailable: No child can be started, or too many files are being read.
        """
        name = f"{function.__module__}:{function.__name__}"
        if function.__module__ not in self._modules:
            raise ValueError(f"{name} is not a function that the sandbox runs")
        size = file.seek(0, io.SEEK_END)
        task = SandboxTask(name, self._limit_s, msgspec.Raw(encode(args)), size)
        with self._leased_child() as child:
            reading = _ReaderLease(child, task, file, self._memory_bytes, self._max_piece_bytes)
            yield from reading.pieces()

    def close(self) -> None:
        """End the idle child; the others end with their files."""
        with self._lock:
            self._closed = True
            child, self._idle = self._idle, None
        if child is not None:
            child.bury()

    @contextmanager
    def _leased_child(self) -> Iterator[ChildProcess]:
        """A child for one file; it is reaped unless it is ready for the next file."""
        if not self._room.acquire(timeout=_ROOM_S):
            raise Unavailable("Too many tables are being read at once; try again.", retry_after_s=1)
        try:
            child = self._child()
            try:
                yield child
            finally:
                if not child.buried and not self._park(child):
                    child.bury()
        finally:
            self._room.release()

    def _child(self) -> ChildProcess:
        with self._lock:
            child, self._idle = self._idle, None
        if child is not None:
            if child.alive():
                return child
            child.bury()
        try:
            return ChildProcess(self._modules, self._memory_bytes)
        except (OSError, ChannelClosed) as exc:
            log.error("sandbox.no_child", exc=exc)
            raise Unavailable(
                "The sandbox process that reads tables could not be started.", retry_after_s=5
            ) from exc

    def _park(self, child: ChildProcess) -> bool:
        """Keep a child for the next file, unless another one is kept; whether it was."""
        with self._lock:
            if self._closed or self._idle is not None or child.tasks >= _TASKS_EACH:
                return False
            self._idle = child
            return True


class _ReaderLease:
    """A child that reads one file; it is reaped if it is not ready for another afterwards."""

    def __init__(
        self,
        child: ChildProcess,
        task: SandboxTask,
        file: BinaryIO,
        memory_bytes: int,
        max_piece_bytes: int,
    ) -> None:
        self._child = child
        self._task = task
        self._file = file
        self._memory_bytes = memory_bytes
        self._max_bytes = max_piece_bytes + _ENVELOPE_BYTES
        self._left_s = _WHOLE * task.limit_s + task.file_bytes / _BYTES_PER_S
        self._spent_s = 0.0

    def pieces(self) -> Generator[bytes, None, None]:
        """The pieces of the file. Raises as `FileReaders.read`."""
        child, task = self._child, self._task
        child.tasks += 1
        ready = False
        try:
            self._send(encode(task))
            while isinstance(message := self._receive(), ResultPiece):
                self._left_s += len(message.value) / _BYTES_PER_S
                self._send(MORE)
                try:
                    yield message.value
                except GeneratorExit:
                    ready = self._stopped()
                    raise
            ready = isinstance(message, TaskDone | TaskRefused)
        except TimeoutError:
            # The limit of the next piece, or of the whole file.
            limit_s = task.limit_s if self._left_s >= task.limit_s else round(self._spent_s)
            log.warning("sandbox.too_slow", function=task.function, limit_s=limit_s)
            raise too_slow(limit_s) from None
        except (ChannelClosed, msgspec.DecodeError) as exc:  # the child dies, or sends invalid data
            status, filled = child.bury(grace_s=DYING_S), child.filled()
            log.warning("sandbox.child_died", function=task.function, status=status, filled=filled)
            if status == -signal.SIGKILL:
                raise ReaderKilled from exc
            raise death(
                status, filled=filled, limit_s=task.limit_s, memory_bytes=self._memory_bytes
            ) from exc
        finally:
            if not ready:
                child.bury()
        if not isinstance(message, TaskDone):
            raise refusal(message, self._memory_bytes)

    def _send(self, message: bytes) -> None:
        deadline = time.monotonic() + self._task.limit_s
        send(self._child.channel, message, deadline=deadline)

    def _receive(self) -> ResultPiece | Answer:
        """The next message, after serving the requests of the child for ranges of the file."""
        left_s = min(self._task.limit_s, self._left_s)
        while True:
            began = time.monotonic()
            message: ChildMessage = decode(
                self._child.hear(began + left_s, max_bytes=self._max_bytes), ChildMessage
            )
            spent_s = time.monotonic() - began
            left_s -= spent_s
            self._left_s -= spent_s
            self._spent_s += spent_s
            if not isinstance(message, ReadRange):
                return message
            self._send(self._range(message))

    def _range(self, request: ReadRange) -> bytes:
        inside = 0 <= request.start < request.start + request.size <= self._task.file_bytes
        if not inside or request.size > MAX_STRETCH_BYTES:
            raise ChannelClosed
        self._file.seek(request.start)
        data = bytearray()
        while len(data) < request.size:
            more = self._file.read(request.size - len(data))
            if not more:
                raise ChannelClosed  # the file is shorter than it was
            data += more
        return bytes(data)

    def _stopped(self) -> bool:
        """Stop the function in the child; False if it does not stop in time."""
        self._left_s = _STOPPING_S
        with suppress(TimeoutError, ChannelClosed, msgspec.DecodeError):
            if isinstance(message := self._receive(), ResultPiece):
                self._send(STOP)
                message = self._receive()
            return isinstance(message, TaskDone | TaskRefused)
        return False
