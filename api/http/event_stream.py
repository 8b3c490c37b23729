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
    """The slots of clients that listen to events; each takes one."""

    listeners: ConcurrencyLimit

    def respond(self, events: EventFollower[T], current: T) -> Response:
        """The stream of events from the `current` state on, after the last one that the client has.

        Raises:
            TooBusy: All slots are taken.
        """
        last_event_id = request.headers.get("Last-Event-ID", "")
        if events.is_complete(current, last_event_id=last_event_id):
            return Response(status=204)  # the client does not reconnect
        with ExitStack() as held:
            held.enter_context(self.listeners.one())
            stream = events.follow(current, last_event_id=last_event_id)
            response = streamed(stream, held, mimetype=EVENTS)
            response.headers["Cache-Control"] = "no-cache"
            response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer events
            return response
