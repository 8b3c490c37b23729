"""`python -m api.main`: checks the object store and Redis, then supervises the API processes.

Each API process is a fresh interpreter that runs `api.wsgi.serve`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from api.server.liveness import LivenessWatch
from api.server.processes import Processes
from api.server.server import listening
from shared import model_catalogue, tiers, tracing
from shared.adapters.redis.client import connect
from shared.adapters.store_factory import probe, store_of
from shared.errors import ConfigurationError, PigeonholeError
from shared.settings import Settings
from shared.telemetry import Log, start_logging

log = Log("api")

_METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY_DIR = "/dev/shm"


def main() -> None:
    """Serve until SIGTERM or SIGINT; what is being answered is finished first."""
    try:
        settings = Settings.from_env(os.environ)
        start_logging("api", settings.log_level)
        model_catalogue.load(settings.catalogue, default=settings.default_model)
        tiers.load(settings.tiers)
        tracing.check(settings.otlp_endpoint)
        probe(store_of(settings))
        connect(settings.redis_url, timeout_s=settings.redis_timeout_s).close()  # is it a URL?
        _check_port(settings.host, settings.port)
    except PigeonholeError as exc:
        sys.exit(f"pigeonhole: {exc.detail}")
    # glibc gives each of the many threads a heap of its own: 210 MB instead of 100 after answers
    # of 12 MB. Read by the processes to come when they start.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    with ExitStack() as stack:
        if settings.api_processes > 1 or _METRICS_DIR in os.environ:
            _share_metrics(Path(os.environ.get(_METRICS_DIR) or stack.enter_context(_own_dir())))
        log.info("api.starting", host=settings.host, port=settings.port)
        processes = Processes(
            run=_answer, count=settings.api_processes, grace_s=settings.shutdown_grace_s
        )
        LivenessWatch.of(processes, settings).start()
        processes.serve()


def _answer() -> None:
    from api.wsgi import serve  # the application is not loaded here

    serve()


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: the server's own sockets would share it without a word.

    Raises:
        ConfigurationError: Another process listens there, or the address is not of this machine.
    """
    try:
        listening(host, port, shared=False).close()
    except OSError as exc:
        reason = (exc.strerror or "unknown").partition(" (")[0]
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}") from exc


def _own_dir() -> tempfile.TemporaryDirectory[str]:
    """A directory in memory where there is one: counts are mapped files, and a process that maps a
    file for which the disk has no room is killed when it counts.
    """
    memory = _MEMORY_DIR if os.access(_MEMORY_DIR, os.W_OK | os.X_OK) else None
    return tempfile.TemporaryDirectory(prefix="pigeonhole-metrics-", dir=memory)


def _share_metrics(folder: Path) -> None:
    """Let the processes to come add up their counts in files; those of an earlier run go."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ[_METRICS_DIR] = str(folder)


if __name__ == "__main__":
    main()
