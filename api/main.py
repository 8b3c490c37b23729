"""`python -m api.main`: checks what the service stands on, then keeps answering processes alive.

Each of those is a fresh interpreter that runs `api.process.application`: nothing is shared with
this one but the environment, and a fork of a process with threads cannot hang it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import MPServer

from api.liveness import LivenessWatch
from shared import catalogue
from shared.adapters.redis_client import connect
from shared.adapters.store import probe, store_of
from shared.errors import ConfigurationError, PigeonholeError
from shared.settings import Settings
from shared.telemetry import Log, start_logging

log = Log("api")

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_MAX_CONNECTIONS = 16384  # of one process, idle ones too; beyond them none is accepted
_OTHER_FILES = 1024  # that a process has open beside its connections
_BACKLOG = 4096


def main() -> None:
    """Serve until SIGTERM or SIGINT; what is being answered is finished first."""
    try:
        settings = Settings.from_env(os.environ)
        start_logging("api", settings.log_level)
        catalogue.load(settings.catalogue, default=settings.default_model)
        probe(store_of(settings))
        connect(settings.redis_url, timeout_s=settings.redis_timeout_s).close()  # is it a URL?
        _check_port(settings.host, settings.port)
    except PigeonholeError as exc:
        sys.exit(f"pigeonhole: {exc.detail}")
    multiprocessing.set_start_method("spawn")
    # glibc gives each of the many threads a heap of its own: 210 MB instead of 100 after answers
    # of 12 MB. Read by the processes to come when they start.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    with tempfile.TemporaryDirectory(prefix="pigeonhole-metrics-") as own_dir:
        if settings.api_processes > 1 or _METRICS_DIR in os.environ:
            _share_metrics(Path(os.environ.get(_METRICS_DIR) or own_dir))
        log.info("api.starting", host=settings.host, port=settings.port)
        server = _server(settings)
        LivenessWatch.of(server, settings).start()
        server.serve()


def _server(settings: Settings) -> MPServer:
    return MPServer(
        "api.process:application",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        # Over HTTP/2 the server does not tell a reader of a body that its client has gone, so each
        # upload that is abandoned would hold a thread until the process ends.
        http=HTTPModes.http1,
        workers=settings.api_processes,
        blocking_threads=settings.api_threads,
        http1_settings=HTTP1Settings(header_read_timeout=int(settings.header_timeout_s * 1000)),
        backpressure=_max_connections(),
        backlog=_BACKLOG,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=int(settings.stop_grace_s),
        # Its lines go where ours go.
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {"_granian": {}}},
    )


def _max_connections() -> int:
    """Connections of one process, after the limit on open files was raised as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return max(256, min(_MAX_CONNECTIONS, soft - _OTHER_FILES))


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: the server's own sockets would share it without a word.

    Raises:
        ConfigurationError: Somebody listens there, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        reason = (exc.strerror or "unknown").partition(" (")[0]
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}") from exc


def _share_metrics(folder: Path) -> None:
    """Let the processes to come add up their counts in files; those of an earlier run go."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ[_METRICS_DIR] = str(folder)


if __name__ == "__main__":
    main()
