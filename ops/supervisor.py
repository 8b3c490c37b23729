"""Keeps programs running and ends them in order: one thread decides, and one per child reads.

A child that dies is started again after a pause that doubles from `_FIRST_PAUSE_S` up to
`_MAX_PAUSE_S` and starts over once it has lived for `_SETTLED_S`. Stopping goes from the last
started to the first: SIGTERM, and after the grace SIGKILL to whatever is left of its process group.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ops import exec_with_parent_death_signal
from ops.log_formatter import LogView

_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 10.0
_SETTLED_S = 30.0
_LOOK_AGAIN_S = 5.0  # the longest the loop sleeps, should a signal of a child's death be lost
_LAST_WORDS_S = 1.0
_MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. `keep_fds` are files of the launcher that it holds open as long as it lives."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    keep_fds: tuple[int, ...] = ()


@dataclass(kw_only=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    started_at: float = 0.0  # monotonic, like all times here
    pause_s: float = _FIRST_PAUSE_S
    restart_at: float | None = None
    kill_at: float | None = None


class Supervisor:
    """Runs programs until told to stop; only `run` starts and ends processes.

    Children are started by the thread that calls `run`, because the kernel takes the end of that
    very thread for the death of the parent.
    """

    def __init__(self, log: LogView, *, grace_s: float) -> None:
        self.stopping = threading.Event()
        self._log = log
        self._grace_s = grace_s
        self._children: list[_Child] = []
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._clean = True

    def start(self, program: Program) -> None:
        """Start a program and keep it running; any thread may call this."""
        self._inbox.put(lambda: self._add(program))

    def stop(self, *, failed: bool = False) -> None:
        """Stop everything in order, or at once if called again. Any thread or signal handler may
        call it.
        """
        self._inbox.put(lambda: self._asked_to_stop(failed=failed))

    def run(self) -> bool:
        """Supervise the programs until stopped; True if nothing failed or had to be killed."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup
                signal.signal(signum, lambda *_: self.stop())
        signal.signal(signal.SIGCHLD, lambda *_: self._inbox.put(lambda: None))
        while not (self.stopping.is_set() and not self._alive()):
            with suppress(queue.Empty):
                self._inbox.get(timeout=self._pause_s())()
            self._look(time.monotonic())
        return self._clean

    def _alive(self) -> list[_Child]:
        return [child for child in self._children if child.process is not None]

    def _pause_s(self) -> float:
        now = time.monotonic()
        dates = [at for c in self._children for at in (c.restart_at, c.kill_at) if at is not None]
        return max(0.0, min([_LOOK_AGAIN_S, *(at - now for at in dates)]))

    def _add(self, program: Program) -> None:
        if not self.stopping.is_set():
            child = _Child(program=program)
            self._children.append(child)
            self._spawn(child)

    def _asked_to_stop(self, *, failed: bool) -> None:
        self._clean = self._clean and not failed
        if not self.stopping.is_set():
            self.stopping.set()
            self._log.say("stopping; send the signal again to kill at once")
            return
        for child in self._alive():
            self._kill(child)

    def _look(self, now: float) -> None:
        """Do what is due: reap dead children, then restart them or continue to stop."""
        for child in self._alive():
            if _has_ended(child):
                self._bury(child)
        if self.stopping.is_set():
            self._end_next(now)
            return
        for child in self._children:
            if child.restart_at is not None and now >= child.restart_at:
                self._spawn(child)

    def _end_next(self, now: float) -> None:
        alive = self._alive()
        if not alive:
            return
        child = alive[-1]
        if child.kill_at is None:
            assert child.process is not None
            child.process.terminate()
            child.kill_at = now + self._grace_s
        elif now >= child.kill_at:
            child.kill_at = now + self._grace_s
            self._log.say(
                f"{child.program.name} did not stop within {self._grace_s:g} s; killing it",
                level="warning",
            )
            self._kill(child)

    def _kill(self, child: _Child) -> None:
        self._clean = False
        _signal_group(child, signal.SIGKILL)

    def _spawn(self, child: _Child) -> None:
        program = child.program
        shim = [
            sys.executable,
            "-I",
            "-S",
            str(Path(exec_with_parent_death_signal.__file__)),
            str(os.getpid()),
        ]
        child.started_at = time.monotonic()
        try:
            process = subprocess.Popen(
                [*shim, *program.command],
                env=program.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                pass_fds=program.keep_fds,
            )
        except OSError as exc:  # no memory or no process left: it may pass
            self._start_again_later(child, f"could not start: {exc.strerror}")
            return
        assert process.stdout is not None
        child.process, child.restart_at = process, None
        child.reader = threading.Thread(
            target=self._read, args=(program.name, process.stdout), name=program.name, daemon=True
        )
        child.reader.start()

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            while raw := pipe.readline(_MAX_LINE_BYTES):
                self._log.line(name, raw)

    def _bury(self, child: _Child) -> None:
        """Reap a dead child, and kill the rest of its process group."""
        assert child.process is not None
        assert child.reader is not None
        _signal_group(child, signal.SIGKILL)
        code = child.process.wait()
        child.reader.join(_LAST_WORDS_S)
        child.process, child.kill_at = None, None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if self.stopping.is_set():
            self._log.say(f"{child.program.name} has stopped ({how})")
            return
        self._start_again_later(child, f"died ({how})")

    def _start_again_later(self, child: _Child, why: str) -> None:
        now = time.monotonic()
        if now - child.started_at >= _SETTLED_S:
            child.pause_s = _FIRST_PAUSE_S
        child.restart_at = now + child.pause_s
        self._log.say(
            f"{child.program.name} {why}; starting it again in {child.pause_s:g} s",
            level="warning",
        )
        child.pause_s = min(2 * child.pause_s, _MAX_PAUSE_S)


def _has_ended(child: _Child) -> bool:
    """Whether a child is dead; it stays a zombie, so that its group's number is not given away."""
    assert child.process is not None
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child.process.pid, look) is not None


def _signal_group(child: _Child, signum: signal.Signals) -> None:
    assert child.process is not None
    # On macOS a group of zombies refuses the signal instead of ignoring it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signum)
