"""Server-sent events: one event whenever the state of a batch or job changes.

The id of an event is that mark. Who comes back with it (`Last-Event-ID`) is told of the next
change, from whichever process of the API: there is nothing to catch up on, for each event holds the
whole view. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from api.schemas import body
from api.schemas.openai.batch import BatchStatus, render_batch
from api.services.batches import Batches
from api.services.jobs import Jobs
from shared.errors import NotFound, Unavailable
from shared.jobs import Job

_AGAIN_MS = 2000  # after which a client that lost us comes back
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EventFollower(Generic[T]):
    """Follows things of one kind, each in the thread of who listens.

    Args:
        wait: The thing when it has ended, or as it stands after so many seconds.
        mark: Changes with everything that a caller waits for; a header may hold it.
        ended: Whether nothing changes any more.
        render: The view that an event holds.
        every_s: Between two looks, and so between two events.
        silent_s: After which a comment keeps the connection open.
        max_s: After which the stream ends; the client comes back by itself.
    """

    wait: Callable[[T, float], T]
    mark: Callable[[T], str]
    ended: Callable[[T], bool]
    render: Callable[[T], dict[str, Any]]
    every_s: float = 1.0
    silent_s: float = 15.0
    max_s: float = 3600.0

    def over(self, now: T, *, seen: str) -> bool:
        """Whether who has seen that event has seen the last one."""
        return self.ended(now) and self.mark(now) == seen

    def follow(self, now: T, *, seen: str) -> Iterator[bytes]:
        """The stream, up to the event of the end.

        Args:
            now: What is followed, as it is now.
            seen: The id of the last event that the client has; empty if it has none.
        """
        began = spoke = time.monotonic()
        # Clients take every frame for an event, also one without data: OpenAI's do once they have
        # seen an id. So comments end no frame, and `retry` is sent within the first event.
        yield b": connected\n"
        retry = f"retry: {_AGAIN_MS}\n".encode()
        while True:
            if self.mark(now) != seen:
                seen, spoke = self.mark(now), time.monotonic()
                yield retry + self._event(now)
                retry = b""
            if self.ended(now) or time.monotonic() - began > self.max_s:
                return
            if time.monotonic() - spoke >= self.silent_s:
                spoke = time.monotonic()
                yield b": still here\n"
            try:
                now = self.wait(now, self.every_s)
            except NotFound:
                return
            except Unavailable:
                threading.Event().wait(self.every_s)

    def _event(self, now: T) -> bytes:
        data = body.dump(self.render(now))  # one line, as JSON is without line breaks
        mark = self.mark(now).encode()
        return b"".join((b"id: ", mark, b"\nevent: progress\ndata: ", data, b"\n\n"))


def of_batches(batches: Batches) -> EventFollower[BatchStatus]:
    """Batches, whenever their counts or their status change."""
    return EventFollower(
        wait=lambda standing, timeout_s: batches.wait(standing, timeout_s=timeout_s),
        mark=lambda standing: standing.mark,
        ended=lambda standing: standing.job.state.terminal,
        render=render_batch,
    )


def of_jobs(jobs: Jobs, render: Callable[[Job], dict[str, Any]]) -> EventFollower[Job]:
    """Jobs, whenever their counts or their status change."""
    return EventFollower(
        wait=lambda job, timeout_s: jobs.wait(job, timeout_s=timeout_s),
        mark=lambda job: "-".join(map(str, (job.state, *job.progress.model_dump().values()))),
        ended=lambda job: job.state.terminal,
        render=render,
    )
