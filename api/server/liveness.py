"""Replaces API processes that no longer respond to `/health/live`.

Requests that never end, or a fault in native code, can block every thread of a process that is
still alive. A thread of the parent process opens a new connection every second. Connections are
spread over the processes, and each response names its process. If recent attempts failed, the
processes that answered none of them are killed and replaced.
"""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from api.server.processes import Processes
from shared.settings import Settings
from shared.telemetry import Log

log = Log("liveness")

PATH = "/health/live"
PROCESS_HEADER = "X-Process-Id"
_DEADLINE_S = 5.0  # of one try; a busy process has answered within 0.3 s
_PAUSE_S = 1.0
_FAILURES = 3  # 18 seconds without an answer
_TRIES_PER_PROCESS = 5  # chance leaves a healthy process without any of them in 1 of 150 looks
_START_S = 60.0  # a process that has not answered yet is left alone for so long


def answering_process(host: str, port: int, *, deadline_s: float = _DEADLINE_S) -> int | None:
    """The id of the process that answers `/health/live`; None if none does in time."""
    connection = http.client.HTTPConnection(host, port, timeout=deadline_s)
    try:
        connection.request("GET", PATH, headers={"Connection": "close"})
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            return None
        return int(answer.getheader(PROCESS_HEADER, ""))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@dataclass(kw_only=True)
class LivenessWatch:
    """Looks after the answering processes of one port.

    Attributes:
        processes: the ids of those that should answer.
        stopping: whether they are being ended: what is not answered then is no fault.
    """

    host: str
    port: int
    processes: Callable[[], Sequence[int]]
    stopping: Callable[[], bool]
    pause_s: float = _PAUSE_S
    deadline_s: float = _DEADLINE_S
    _tries: deque[int | None] = field(default_factory=deque)  # which process answered, newest last
    _first_seen: dict[int, float] = field(default_factory=dict)
    _answered: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, processes: Processes, settings: Settings) -> LivenessWatch:
        """The watch over the processes of this one."""
        return cls(
            host=settings.local_host,
            port=settings.port,
            processes=lambda: processes.pids,
            stopping=lambda: processes.stopping,
        )

    def start(self) -> None:
        """Look from now on, in a thread that ends with this process."""
        threading.Thread(target=self._run, name="liveness", daemon=True).start()

    def _run(self) -> None:
        while not self.stopping():
            self.look()
            time.sleep(self.pause_s)

    def look(self) -> None:
        """Try once, and replace what has not answered for too long."""
        answered = answering_process(self.host, self.port, deadline_s=self.deadline_s)
        if self.stopping():
            return
        known = tuple(self.processes())
        now = time.monotonic()
        self._first_seen = {pid: self._first_seen.get(pid, now) for pid in known}
        self._answered &= set(known)
        if answered is not None:
            self._answered.add(answered)
        self._tries.append(answered)
        most = _FAILURES if len(known) == 1 else _TRIES_PER_PROCESS * len(known)
        while len(self._tries) > most:
            self._tries.popleft()
        if len(self._tries) < most or self._tries.count(None) < _FAILURES:
            return
        silent = [pid for pid in known if pid not in self._tries]
        for pid in silent:
            if pid in self._answered or now - self._first_seen[pid] >= _START_S:
                log.error("liveness.replaced", process=pid, failures=self._tries.count(None))
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # a stopped or stuck process hears no other signal
                self._tries.clear()
