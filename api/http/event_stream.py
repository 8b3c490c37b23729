"""Server-sent events of a batch or a job, for a bounded number of clients."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from flask import Response, request

from api.http.concurrency import ConcurrencyLimit
from api.http.sse import EventFollower
from api.http.streaming_response import streamed

EVENTS = "text/event-stream"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ListenerSlots:
    """A listener holds one of the slots for `listeners`."""

    listeners: ConcurrencyLimit

    def answer(self, events: EventFollower[T], now: T) -> Response:
        """The stream of what is `now` so, after the last event that the client has.

        Raises:
            TooBusy: All slots are held.
        """
        seen = request.headers.get("Last-Event-ID", "")
        if events.over(now, seen=seen):
            return Response(status=204)  # a client that is told so does not come back
        with ExitStack() as held:
            held.enter_context(self.listeners.one())
            answer = streamed(events.follow(now, seen=seen), held, mimetype=EVENTS)
            answer.headers["Cache-Control"] = "no-cache"
            answer.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
            return answer
