"""Keeps the API processes alive: a process that ends is started again."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

from shared.telemetry import Log

log = Log("processes")

_PAUSE_S = 3.5  # between two starts of one that ends at once
_LOOK_S = 0.2


@dataclass(kw_only=True)
class Processes:
    """So many processes that run the same.

    Each is a fresh interpreter: nothing is shared with this one but the environment, and a fork of
    a process with threads cannot hang it.

    Args:
        run: What each does until SIGTERM; found by its name in a fresh interpreter.
        count: How many.
        grace_s: Longest time that one is given to end.
    """

    run: Callable[[], None]
    count: int
    grace_s: float
    stopping: bool = False
    _living: dict[int, SpawnProcess] = field(default_factory=dict)
    _started: dict[int, float] = field(default_factory=dict)

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        return [pid for each in list(self._living.values()) if (pid := each.pid)]

    def serve(self) -> None:
        """Keep them alive until SIGTERM or SIGINT, and then end them."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        while not self.stopping:
            now = time.monotonic()
            for number in range(self.count):
                due = self._started.get(number, -_PAUSE_S) + _PAUSE_S <= now
                if number not in self._living and due:
                    self._start(number)
            ended = wait([each.sentinel for each in self._living.values()], timeout=_LOOK_S)
            for number, each in list(self._living.items()):
                if each.sentinel in ended:
                    each.join()
                    del self._living[number]
                    if not self.stopping:
                        log.error("processes.ended", process=each.pid, exit_code=each.exitcode)
        self._end()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _start(self, number: int) -> None:
        process = multiprocessing.get_context("spawn").Process(target=self.run, name="api")
        process.start()
        self._started[number] = time.monotonic()
        self._living[number] = process

    def _end(self) -> None:
        for each in self._living.values():
            each.terminate()
        until = time.monotonic() + self.grace_s
        for each in self._living.values():
            each.join(max(0.0, until - time.monotonic()))
            if each.exitcode is None:
                each.kill()
                each.join()
