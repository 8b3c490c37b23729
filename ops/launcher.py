"""The whole service on this machine by one command: `python -m ops.launcher`, or `make run`.

Starts Redis (unless one is configured), the keeper, a worker and the API, supervises them, shows
one log, and prints how to use the service once an item was classified. Ctrl-C stops everything.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from shlex import quote

from ops import data_directory, embedded_redis
from ops.log_formatter import LogView
from ops.supervisor import Program, Supervisor
from ops.wait_ready import await_ready
from shared.adapters.redis.client import connect
from shared.adapters.store_factory import store_of
from shared.errors import ConfigurationError, Conflict, PigeonholeError
from shared.settings import PREFIX, Settings

_REDIS_DEADLINE_S = 60.0  # it reads its file before it answers
_READY_PATIENCE_S = 120.0
_LEFTOVER_PATIENCE_S = 15.0
_OVER_GRACE_S = 5.0  # a worker uses the whole grace for its work and then needs to say goodbye
_EXAMPLE = {
    "input": ["The parcel never arrived.", "What a lovely surprise, thank you!"],
    "labels": ["complaint", "praise"],
}


def main() -> None:
    """Run until stopped; the exit status says how it went. There are no arguments."""
    if sys.argv[1:]:
        print(f"{__doc__}\nIt takes settings from the environment: docs/reference/settings.md")
        sys.exit(0 if set(sys.argv[1:]) <= {"-h", "--help"} else 2)
    sys.exit(run(os.environ))


def run(env: Mapping[str, str]) -> int:
    """Run the service until a signal stops it.

    Returns:
        0 after a clean stop; 1 if something had to be killed, or could not start; 2 if a setting
        is wrong.
    """
    os.umask(0o077)  # what the service keeps is for its owner only
    where = "this directory"
    try:
        settings = Settings.from_env(env)
        where = str(settings.data_dir.absolute())
        settings = replace(settings, data_dir=settings.data_dir.absolute())
        with data_directory.held(settings.data_dir, patience_s=_LEFTOVER_PATIENCE_S) as lock:
            return _run(settings, env, lock)
    except PigeonholeError as exc:
        print(f"pigeonhole: {exc.detail}", file=sys.stderr)
        return 2 if isinstance(exc, ConfigurationError) else 1
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        print(f"pigeonhole: cannot start: the disk of {where} is full", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 1


def _run(settings: Settings, env: Mapping[str, str], lock: int) -> int:
    _check_port(settings)
    store = store_of(settings)
    now = datetime.fromtimestamp(store.now(), UTC)
    key = data_directory.first_key(store, settings.data_dir, now=now)
    redis = None
    if settings.redis_url:
        connect(settings.redis_url, timeout_s=settings.redis_timeout_s).close()  # is it a URL?
    else:
        redis = embedded_redis.prepare(settings.data_dir / "redis")
        settings = replace(settings, redis_url=redis.url)
    log = LogView(sys.stderr, colour=sys.stderr.isatty() and "NO_COLOR" not in env)
    log.say(f"starting; data directory: {settings.data_dir}")
    supervisor = Supervisor(log, grace_s=settings.shutdown_grace_s + _OVER_GRACE_S)
    if redis:
        # It holds the lock as well: two servers must never write one append-only file.
        supervisor.start(Program(name="redis", command=redis.command, env=env, keep_fds=(lock,)))
    boot = _Boot(settings=settings, env=env, key=key, log=log, supervisor=supervisor)
    threading.Thread(target=boot.run, name="boot", daemon=True).start()
    return 0 if supervisor.run() else 1


@dataclass(frozen=True, kw_only=True)
class _Boot:
    """A thread next to the supervisor: it starts the programs in order, waits, and prints the
    welcome.
    """

    settings: Settings
    env: Mapping[str, str]
    key: str | None  # None: it was shown at an earlier start
    log: LogView
    supervisor: Supervisor

    def run(self) -> None:
        try:
            self._run()
        except Exception as exc:  # noqa: BLE001  a thread that dies quietly leaves people waiting
            self.log.say(f"the launcher failed: {exc!r}", level="error")
            self.supervisor.stop(failed=True)

    def _run(self) -> None:
        stopping = self.supervisor.stopping
        url = self.settings.redis_url
        if not embedded_redis.await_answer(url, stopping, deadline_s=_REDIS_DEADLINE_S):
            self.log.say("Redis does not respond; continuing without it", level="warning")
        for program in programs(self.settings, self.env):
            self.supervisor.start(program)
        if await_ready(
            address(self.settings),
            stopping,
            patience_s=_READY_PATIENCE_S,
            complain=lambda sentence: self.log.say(sentence, level="warning"),
        ):
            with suppress(OSError):  # the reader may be gone
                print(_welcome(self.settings, self.key), flush=True)


def programs(settings: Settings, env: Mapping[str, str]) -> list[Program]:
    """The processes of the service in the order of their start, which is undone backwards."""
    env = {
        **env,
        PREFIX + "DATA_DIR": str(settings.data_dir),
        PREFIX + "REDIS_URL": settings.redis_url,
        "PYTHONUNBUFFERED": "1",
    }
    keeper_env = env
    if settings.metrics_port:  # two processes cannot share it
        keeper_env = {**env, PREFIX + "METRICS_PORT": str(settings.metrics_port + 1)}
    python = (sys.executable, "-m")
    return [
        Program(name="keeper", command=(*python, "workers.keeper.main"), env=keeper_env),
        Program(name="worker", command=(*python, "workers.main"), env=env),
        Program(name="api", command=(*python, "api.main"), env=env),
    ]


def address(settings: Settings) -> str:
    """Where a client on this machine finds the API."""
    host = settings.local_host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _check_port(settings: Settings) -> None:
    """Find out before the start whether the API can listen.

    Raises:
        Conflict: Another process listens there.
        ConfigurationError: It is no address of this machine.
    """
    where = f"port {settings.port} of {settings.host}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
    except (OSError, OverflowError) as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
            raise Conflict(
                f"{where} is taken; stop the program that has it, or set PIGEONHOLE_PORT"
            ) from exc
        raise ConfigurationError(f"cannot listen on {where}: {exc}") from exc


def _welcome(settings: Settings, key: str | None) -> str:
    """How to use the service. Only the first start shows the key: later output lands in logs."""
    path = settings.data_dir / data_directory.KEY
    if key is None:
        told, header = (
            f"Your key is in {path}",
            f'"Authorization: Bearer $(cat {quote(str(path))})"',
        )
    else:
        told, header = f"Your key: {key}   (kept in {path})", f"'Authorization: Bearer {key}'"
    return f"""
Pigeonhole is ready: {address(settings)}
{told}

Try it in a browser at the address above, or here:

curl -s {address(settings)}/v1/classify -H {header} \\
  -H 'Content-Type: application/json' -d '{json.dumps(_EXAMPLE)}'

Ctrl-C stops it.
"""


if __name__ == "__main__":
    main()
