"""Server-sent events: one event whenever the state of a batch or job changes.

The id of an event is the state's version. A client that reconnects with it (`Last-Event-ID`) gets
the next change from any process of the API. Every event holds the whole state, so no event has to
be repeated. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from api.schemas import body
from api.schemas.openai.batch import BatchStatus, render_batch
from api.services.batches import BatchService
from api.services.jobs import JobService, JobStatus
from shared.errors import NotFound, Unavailable

_RETRY_MS = 2000  # the client reconnects this long after a lost connection
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EventFollower(Generic[T]):
    """Streams the events of one kind of subject, a job or a batch, in the thread of the client.

    Args:
        wait: Waits for the end of the subject, for some seconds at most; returns its current state.
        version: Text that changes with every change worth an event; a header may contain it.
        ended: Whether the subject changes no more.
        render: The state as an event contains it.
        interval_s: Between two reads of the state, and so between two events.
        keep_alive_s: A comment is sent after this much silence.
        max_duration_s: The stream ends after it, and the client reconnects.
    """

    wait: Callable[[T, float], T]
    version: Callable[[T], str]
    ended: Callable[[T], bool]
    render: Callable[[T], dict[str, Any]]
    interval_s: float = 1.0
    keep_alive_s: float = 15.0
    max_duration_s: float = 3600.0

    def is_complete(self, current: T, *, last_event_id: str) -> bool:
        """Whether a client with that event has the last one."""
        return self.ended(current) and self.version(current) == last_event_id

    def follow(self, current: T, *, last_event_id: str) -> Iterator[bytes]:
        """The stream, up to the last event.

        Args:
            current: The current state of the subject.
            last_event_id: The id of the last event that the client has; empty if it has none.
        """
        started_at = sent_at = time.monotonic()
        # Clients take every frame for an event, also one without data: OpenAI's do once they have
        # seen an id. So comments end no frame, and `retry` is sent within the first event.
        yield b": connected\n"
        retry = f"retry: {_RETRY_MS}\n".encode()
        while True:
            if self.version(current) != last_event_id:
                last_event_id, sent_at = self.version(current), time.monotonic()
                yield retry + self._event(current)
                retry = b""
            if self.ended(current) or time.monotonic() - started_at > self.max_duration_s:
                return
            if time.monotonic() - sent_at >= self.keep_alive_s:
                sent_at = time.monotonic()
                yield b": still here\n"
            try:
                current = self.wait(current, self.interval_s)
            except NotFound:
                return
            except Unavailable:
                threading.Event().wait(self.interval_s)

    def _event(self, current: T) -> bytes:
        data = body.dump(self.render(current))  # one line, as JSON is without line breaks
        version = self.version(current).encode()
        return b"".join((b"id: ", version, b"\nevent: progress\ndata: ", data, b"\n\n"))


def of_batches(batches: BatchService) -> EventFollower[BatchStatus]:
    """Batches, whenever their counts or their status change."""
    return EventFollower(
        wait=lambda batch, timeout_s: batches.wait(batch, timeout_s=timeout_s),
        version=lambda batch: batch.version,
        ended=lambda batch: batch.job.state.terminal,
        render=render_batch,
    )


def of_jobs(
    jobs: JobService, render: Callable[[JobStatus], dict[str, Any]]
) -> EventFollower[JobStatus]:
    """Jobs, whenever their counts, their phase or their status change."""
    return EventFollower(
        wait=lambda status, timeout_s: jobs.status(jobs.wait(status.job, timeout_s=timeout_s)),
        version=lambda status: status.version,
        ended=lambda status: status.job.state.terminal,
        render=render,
    )
