"""The service under bulk work: the parts of the launcher, started one by one.

So workers can be added and given cores, and what each process takes can be looked at. Everything
ends with the block, and with this process, however that dies. How work is sent is in
`ops.bench.batch_runs`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.services.keys import create_key
from ops import embedded_redis, exec_with_parent_death_signal
from ops.bench.service import Service, free_port, rss_mib
from ops.launcher import address, programs
from ops.supervisor import Program
from ops.wait_ready import await_ready
from shared.adapters.redis.client import connect
from shared.adapters.store_factory import store_of
from shared.settings import PREFIX, Settings

_REDIS_LIMIT_S = 30.0
_START_LIMIT_S = 180.0
_STOP_LIMIT_S = 40.0
_HASHING = '[[model]]\nname = "hashing"\nengine = "hashing"\n'


@dataclass(kw_only=True)
class Cluster:
    """Running processes by name: redis, keeper, worker, api, and further workers."""

    settings: Settings
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def account(self, name: str) -> Service:
        """The service as an account of that name calls it."""
        key, _ = create_key(
            store_of(self.settings),
            name=name,
            account=name,
            scopes=(),
            created_at=datetime.now(UTC),
            expires_at=None,
        )
        return Service(port=self.settings.port, key=key, launcher=self.processes["api"].pid)

    def start(self, program: Program, *, name: str = "", cores: Collection[int] = ()) -> None:
        """Start a program, on some of the cores if they are named."""
        name = name or program.name
        ours = os.sched_getaffinity(0)
        command = [
            sys.executable,
            "-I",
            "-S",
            exec_with_parent_death_signal.__file__,
            str(os.getpid()),
            *program.command,
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            os.sched_setaffinity(0, cores or ours)  # a child begins with those of this thread
            try:
                self.processes[name] = subprocess.Popen(
                    command,
                    env=program.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we end them in order
                )
            finally:
                os.sched_setaffinity(0, ours)

    def stop(self) -> None:
        """End everything, the last started first."""
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_LIMIT_S)

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines in the log of a process that tell of the event."""
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and event in line]
        return [each for each in found if each["event"] == event]

    def rss_mib(self) -> dict[str, float]:
        """Resident memory of each process and its children."""
        return {name: rss_mib(process.pid) for name, process in self.processes.items()}

    def redis_mib(self) -> float:
        """What Redis says that its data take."""
        with connect(self.settings.redis_url, timeout_s=5) as client:
            return float(client.info("memory")["used_memory"]) / 2**20

    def redis_cpu_s(self) -> float:
        """The processor time that Redis has used."""
        with connect(self.settings.redis_url, timeout_s=5) as client:
            info = client.info("cpu")
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])

    def objects(self) -> int:
        """How many objects are on the store."""
        root = self.folder / "objects"
        return sum(
            len(files)
            for folder, _, files in os.walk(root)
            if not folder.startswith((f"{root}/.new", f"{root}/.locks"))
        )

    def tail(self) -> str:
        """The end of each log."""
        ends = []
        for name, process in self.processes.items():
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            ends.append(f"--- {name} ({process.poll()})\n{text[-1500:]}")
        return "\n".join(ends)


@contextmanager
def fleet(
    *, workers: int = 1, pinned: bool = False, hashing: bool = False, **chosen: object
) -> Iterator[Cluster]:
    """A ready service in an empty directory.

    Args:
        workers: how many.
        pinned: each worker has one of two halves of the cores to itself.
        hashing: the model without weights, instead of the default one.
        chosen: settings, by their names in lower case.

    Raises:
        RuntimeError: It did not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="pigeonhole-bench-") as place:
        folder = Path(place)
        redis = embedded_redis.prepare(folder / "redis")
        port = free_port()
        while port - 1 == chosen.get("metrics_port"):  # the keeper's own is the one behind it
            port = free_port()
        settings: dict[str, object] = {
            "port": port,
            "data_dir": folder,
            "redis_url": redis.url,
        }
        if hashing:
            (folder / "catalogue.toml").write_text(_HASHING)
            settings |= {"catalogue": folder / "catalogue.toml"}
            settings |= {"default_model": "hashing", "models": "hashing"}
        variables = {f"{PREFIX}{n.upper()}": str(v) for n, v in {**settings, **chosen}.items()}
        env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)} | variables
        running = Cluster(settings=Settings.from_env(variables), folder=folder)
        halves = _halves() if pinned else [frozenset[int]()]
        try:
            running.start(Program(name="redis", command=redis.command, env=env))
            never = threading.Event()
            if not embedded_redis.await_answer(redis.url, never, deadline_s=_REDIS_LIMIT_S):
                raise RuntimeError(f"Redis does not answer:\n{running.tail()}")
            for program in programs(running.settings, env):
                cores = halves[0] if program.name == "worker" else ()
                running.start(program, cores=cores)
                if program.name == "worker":
                    for number in range(1, workers):
                        name = f"worker{number + 1}"
                        # Its own /metrics, if any, would be on the port of the first.
                        quiet = {**env, f"{PREFIX}METRICS_PORT": "0"}
                        running.start(
                            replace(program, env=quiet | {f"{PREFIX}REDIS_URL": redis.url}),
                            name=name,
                            cores=halves[number % len(halves)],
                        )
            _await(running)
            yield running
        finally:
            running.stop()


def _await(running: Cluster) -> None:
    """Wait for the service and every worker of it.

    Raises:
        RuntimeError: They are not ready in time.
    """
    over = threading.Event()
    until = time.monotonic() + _START_LIMIT_S

    def give_up() -> None:
        while not over.wait(0.2):
            dead = any(process.poll() is not None for process in running.processes.values())
            if dead or time.monotonic() > until:
                over.set()

    threading.Thread(target=give_up, name="give-up", daemon=True).start()
    ready = await_ready(
        address(running.settings), over, patience_s=_START_LIMIT_S, complain=lambda _: None
    )
    workers = [name for name in running.processes if name.startswith("worker")]
    while ready and not all(running.events(name, "worker.ready") for name in workers):
        ready = not over.wait(0.1)
    over.set()
    if not ready:
        raise RuntimeError(f"the service did not start:\n{running.tail()}")


def _halves() -> list[frozenset[int]]:
    """The cores of this process in two halves; all of them twice where there is but one."""
    cores = sorted(os.sched_getaffinity(0))
    middle = len(cores) // 2
    if not middle:
        return [frozenset(cores)] * 2
    return [frozenset(cores[:middle]), frozenset(cores[middle : 2 * middle])]
