"""A launcher of tiny programs, as a process of its own: signals and deaths are real."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

pytestmark = pytest.mark.integration

LAUNCHER = """
import os, signal, sys
from ops.log_formatter import LogView
from ops.supervisor import Program, Supervisor
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
supervisor = Supervisor(LogView(sys.stdout, colour=False), grace_s=float(sys.argv[1]))
for name, code in zip(("first", "second"), sys.argv[2:]):
    command = (sys.executable, "-u", "-c", code)
    supervisor.start(Program(name=name, command=command, env=os.environ))
sys.exit(0 if supervisor.run() else 1)
"""
LIVES = "import os, sys, time; print('I am', os.getpid()); time.sleep(600)"
DIES = "import sys; print('last words'); sys.exit(3)"
STAYS = "import signal, time; signal.signal(15, signal.SIG_IGN); print('I am 0'); time.sleep(600)"
# A parent whose own child keeps the output open, as a server with worker processes does.
LEAVES = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-u", "-c", {LIVES!r}], stdout=sys.stdout).wait(0.5)
"""


@dataclass
class Launcher:
    process: subprocess.Popen[str]
    seen: list[str] = field(default_factory=list)

    def read_until(self, *patterns: str) -> re.Match[str]:
        """Read on until every pattern has been seen; the match of the last one."""
        assert self.process.stdout is not None
        missing = list(patterns)
        last = None
        for line in self.process.stdout:
            self.seen.append(line)
            for pattern in [p for p in missing if re.search(p, line)]:
                last = re.search(pattern, line)
                missing.remove(pattern)
            if not missing:
                assert last is not None
                return last
        raise AssertionError(f"{missing} was not said:\n{''.join(self.seen)}")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def launcher(*programs: str, grace_s: float = 60) -> Iterator[Launcher]:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(grace_s), *programs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Launcher(process)
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], *, deadline_s: float = 60) -> None:
    ends_at = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_a_child_that_dies_is_started_again_after_a_pause_that_grows() -> None:
    with launcher(DIES, LIVES) as running:
        running.read_until(r"second +I am")
        running.read_until(r"first died \(exit code 3\); starting it again in 1 s")

        said = "".join(running.seen)
        assert said.index("last words") < said.index("starting it again in 0.5 s")
        assert said.index("starting it again in 0.5 s") < said.rindex("last words")


def test_a_child_that_is_killed_is_said_to_be_and_comes_back() -> None:
    with launcher(LIVES) as running:
        before = running.read_until(r"I am (\d+)")[1]

        psutil.Process(int(before)).kill()

        running.read_until(r"first died \(killed by SIGKILL\)")
        assert running.read_until(r"I am (\d+)")[1] != before


def test_what_a_dead_child_leaves_behind_is_ended() -> None:
    with launcher(LEAVES) as running:
        orphan = psutil.Process(int(running.read_until(r"I am (\d+)")[1]))

        running.read_until(r"first died")

        wait_for(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_sigterm_and_sigint_stop_the_last_started_first_and_all_is_well() -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with launcher(LIVES, LIVES) as running:
            running.read_until(r"first +I am", r"second +I am")

            running.process.send_signal(signum)

            running.read_until(r"second has stopped \(killed by SIGTERM\)")
            running.read_until(r"first has stopped \(killed by SIGTERM\)")
            assert running.process.wait(60) == 0


def test_a_child_that_does_not_stop_within_the_grace_is_killed() -> None:
    with launcher(STAYS, grace_s=0.2) as running:
        running.read_until(r"I am 0")

        running.process.terminate()

        running.read_until(r"first did not stop within 0.2 s; killing it")
        running.read_until(r"first has stopped \(killed by SIGKILL\)")
        assert running.process.wait(60) == 1


def test_asked_twice_it_kills_at_once() -> None:
    with launcher(STAYS, STAYS, grace_s=600) as running:
        running.read_until(r"first +I am 0", r"second +I am 0")

        running.process.send_signal(signal.SIGINT)
        running.read_until(r"send the signal again to kill at once")
        running.process.send_signal(signal.SIGINT)

        assert running.process.wait(60) == 1


def test_nothing_is_left_behind_when_the_launcher_is_killed() -> None:
    with launcher(LIVES, LIVES) as running:
        running.read_until(r"first +I am", r"second +I am")
        children = running.children()
        assert len(children) == 2

        running.process.kill()

        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive


def test_a_program_that_does_not_exist_is_tried_again_and_can_be_stopped() -> None:
    code = "import os; os.execv('/no/such/program', ['x'])"
    with launcher(code) as running:
        running.read_until(r"No such file or directory")
        running.read_until(r"first died \(exit code 1\)")

        running.process.terminate()

        assert running.process.wait(60) == 0
