"""Logging and metric names: JSON log lines with ids from the context.

A log event has a stable dotted name and fields. It never holds a text of a user or a secret.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_context: ContextVar[dict[str, str]] = ContextVar("telemetry", default={})  # noqa: B039  never mutated

REQUESTS = "pigeonhole_http_requests_total"
REQUEST_SECONDS = "pigeonhole_http_request_seconds"
WAITING = "pigeonhole_queue_waiting"
MEMBERS = "pigeonhole_live_processes"
FORWARD_PASS_SECONDS = "pigeonhole_forward_pass_seconds"
FORWARD_PASS_TOKENS = "pigeonhole_forward_pass_tokens"
REAPED = "pigeonhole_leases_expired_total"
CACHE_BYTES = "pigeonhole_cache_bytes"
CLOCK_OFFSET = "pigeonhole_clock_offset_seconds"
DROPPED = "pigeonhole_messages_dropped_total"
JOBS_ENDED = "pigeonhole_jobs_ended_total"
JOB_SECONDS = "pigeonhole_job_seconds"
ROWS = "pigeonhole_rows_total"
USAGE_TOKENS = "pigeonhole_usage_tokens_total"
CHARGES = "pigeonhole_charges_posted_total"
WEBHOOK_ATTEMPTS = "pigeonhole_webhook_attempts_total"
WEBHOOK_SECONDS = "pigeonhole_webhook_attempt_seconds"


@contextmanager
def bound(**ids: str) -> Iterator[None]:
    """Attach ids (request_id, job_id, …) to every event logged inside."""
    mark = _context.set({**_context.get(), **ids})
    try:
        yield
    finally:
        _context.reset(mark)


class Log:
    """Events of one component: `log.info("part.done", part="part:0")`."""

    def __init__(self, component: str) -> None:
        self._logger = logging.getLogger(f"pigeonhole.{component}")

    def debug(self, event: str, **fields: object) -> None:
        """An event that helps to find a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """An event of normal operation."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """An event that the service handles by itself."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """An event that needs an operator's attention; with the traceback of `exc`."""
        self._log(logging.ERROR, event, fields, exc)

    def _log(
        self, level: int, event: str, fields: dict[str, object], exc: BaseException | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": {**_context.get(), **fields}}
            self._logger.log(level, event, extra=extra, exc_info=exc)


class _JsonFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging(process: str, level: str) -> None:
    """Send every log line of this process to standard error as JSON; only mains call it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(process))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for noisy in (
        "botocore",
        "boto3",
        "urllib3",
        "celery",
        "kombu",
        "filelock",
        "httpcore",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
