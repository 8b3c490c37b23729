"""Has files read in child processes, piece by piece, while only the worker has them open.

Decides how long a file may take, how many children there are, and what is done with one whose
reader is closed early. What is made of a file is decided by the function.

The child works on the next piece while the caller uses the last, and is never further ahead. Time
is counted while the caller waits for the child: neither the caller's time nor the store's counts.
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
    ReadRange,
    ResultPiece,
    SandboxTask,
    TaskDone,
    TaskRefused,
    Told,
    decode,
    encode,
    send,
)

log = Log("sandbox")
_WHOLE = 2  # a file may take so many times what its next piece may, and beyond that a second …
_BYTES_PER_S = 1_000_000  # … for so many bytes of it and of its pieces: it takes a tenth of that
_ROOM_S = 60.0
_STOPPING_S = 1.0
_TASKS_EACH = 500
_ENVELOPE_BYTES = 4096  # of a piece, and of an error


class ReaderKilled(Exception):
    """The child was ended from outside in the middle of a file, which may be read another time."""


class FileReaders:
    """Children that read files; any thread may use it. `close` ends the one that is kept warm."""

    def __init__(
        self,
        modules: Sequence[str],
        *,
        memory_bytes: int,
        limit_s: float,
        max_piece_bytes: int,
        at_once: int = 4,
    ) -> None:
        """Start nothing yet.

        Args:
            modules: whose functions may be asked for; each child imports them at its start.
            memory_bytes: address space that a file may take, above what the imports take.
            limit_s: seconds to the next piece of a file.
            max_piece_bytes: of a child that sends a larger one nothing is taken.
            at_once: children that read at the same time.
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
        """What a child yields by `function(file, *args)`.

        Args:
            function: a top-level function of one of the modules, whose first parameter is `file`;
                the others are annotated with plain values or dataclasses.
            file: seekable.
            args: as annotated.

        Raises:
            InvalidRequest: The function's own.
            UnreadableInput: The function's own; or it took too long or too much memory, or crashed.
            ReaderKilled: The child was ended from outside.
            Unavailable: No child can be started, or too many files are being read.
        """
        name = f"{function.__module__}:{function.__name__}"
        if function.__module__ not in self._modules:
            raise ValueError(f"{name} is not a function that the sandbox runs")
        size = file.seek(0, io.SEEK_END)
        task = SandboxTask(name, self._limit_s, msgspec.Raw(encode(args)), size)
        with self._held() as child:
            reading = _ReaderLease(child, task, file, self._memory_bytes, self._max_piece_bytes)
            yield from reading.pieces()

    def close(self) -> None:
        """End the child that waits; those that read end with their files."""
        with self._lock:
            self._closed = True
            child, self._idle = self._idle, None
        if child is not None:
            child.bury()

    @contextmanager
    def _held(self) -> Iterator[ChildProcess]:
        """A child for one file, which is buried unless it is ready for the next."""
        if not self._room.acquire(timeout=_ROOM_S):
            raise Unavailable("Too many tables are being read at once; try again.", retry_after_s=1)
        try:
            child = self._child()
            try:
                yield child
            finally:
                if not child.buried and not self._kept(child):
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

    def _kept(self, child: ChildProcess) -> bool:
        """Have it wait for the next file, unless another one does."""
        with self._lock:
            if self._closed or self._idle is not None or child.tasks >= _TASKS_EACH:
                return False
            self._idle = child
            return True


class _ReaderLease:
    """A child that reads a file; it is buried where it is not ready for another afterwards."""

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
        """What it yields. Raises as `FileReaders.read`."""
        child, task = self._child, self._task
        child.tasks += 1
        ready = False
        try:
            self._say(encode(task))
            while isinstance(told := self._heard(), ResultPiece):
                self._left_s += len(told.value) / _BYTES_PER_S
                self._say(MORE)
                try:
                    yield told.value
                except GeneratorExit:
                    ready = self._stopped()
                    raise
            ready = isinstance(told, TaskDone | TaskRefused)
        except TimeoutError:
            # Of the next piece, or of all that was waited for so far.
            limit_s = task.limit_s if self._left_s >= task.limit_s else round(self._spent_s)
            log.warning("sandbox.too_slow", function=task.function, limit_s=limit_s)
            raise too_slow(limit_s) from None
        except (ChannelClosed, msgspec.DecodeError) as exc:  # it is dying, or lies
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
        if not isinstance(told, TaskDone):
            raise refusal(told, self._memory_bytes)

    def _say(self, message: bytes) -> None:
        deadline = time.monotonic() + self._task.limit_s
        send(self._child.channel, message, deadline=deadline)

    def _heard(self) -> ResultPiece | Answer:
        """What comes next, once it has the stretches of the file that it asks for."""
        left_s = min(self._task.limit_s, self._left_s)
        while True:
            began = time.monotonic()
            told: Told = decode(self._child.hear(began + left_s, max_bytes=self._max_bytes), Told)
            spent_s = time.monotonic() - began
            left_s -= spent_s
            self._left_s -= spent_s
            self._spent_s += spent_s
            if not isinstance(told, ReadRange):
                return told
            self._say(self._stretch(told))

    def _stretch(self, wanted: ReadRange) -> bytes:
        inside = 0 <= wanted.start < wanted.start + wanted.size <= self._task.file_bytes
        if not inside or wanted.size > MAX_STRETCH_BYTES:
            raise ChannelClosed
        self._file.seek(wanted.start)
        data = bytearray()
        while len(data) < wanted.size:
            more = self._file.read(wanted.size - len(data))
            if not more:
                raise ChannelClosed  # the file is shorter than it was
            data += more
        return bytes(data)

    def _stopped(self) -> bool:
        """Have it leave the file, as its reader has; False where it does not within its time."""
        self._left_s = _STOPPING_S
        with suppress(TimeoutError, ChannelClosed, msgspec.DecodeError):
            if isinstance(told := self._heard(), ResultPiece):
                self._say(STOP)
                told = self._heard()
            return isinstance(told, TaskDone | TaskRefused)
        return False
