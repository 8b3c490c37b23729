"""A batch as it goes on, as server-sent events: one whenever its counts or its status change.

The id of an event is what the batch stood at. Who comes back with it (`Last-Event-ID`) is told of
the next change, from whichever process of the API: there is nothing to catch up on, for each event
holds the whole batch. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from api.batches import Batches
from api.wire import body
from api.wire.openai.batch import Standing, render_batch
from shared.errors import NotFound, Unavailable

_AGAIN_MS = 2000  # after which a client that lost us comes back


@dataclass(frozen=True, kw_only=True)
class BatchEvents:
    """Follows batches, each in the thread of who listens.

    Args:
        batches: What is followed.
        every_s: Between two looks, and so between two events.
        silent_s: After which a comment keeps the connection open.
        longest_s: After which the stream ends; the client comes back by itself.
    """

    batches: Batches
    every_s: float = 1.0
    silent_s: float = 15.0
    longest_s: float = 3600.0

    def follow(self, standing: Standing, *, seen: str) -> Iterator[bytes]:
        """The stream, up to the event of the batch's end.

        Args:
            standing: The batch as it is now.
            seen: The id of the last event that the client has; empty if it has none.
        """
        began = spoke = time.monotonic()
        yield f"retry: {_AGAIN_MS}\n\n".encode()
        while True:
            if standing.mark != seen:
                seen, spoke = standing.mark, time.monotonic()
                yield _event(standing)
            if standing.job.state.terminal or time.monotonic() - began > self.longest_s:
                return
            if time.monotonic() - spoke >= self.silent_s:
                spoke = time.monotonic()
                yield b": still here\n\n"
            try:
                standing = self.batches.wait(standing, timeout_s=self.every_s)
            except NotFound:
                return
            except Unavailable:
                threading.Event().wait(self.every_s)


def _event(standing: Standing) -> bytes:
    data = body.dump(render_batch(standing))  # one line, as JSON is without line breaks
    return b"".join((b"id: ", standing.mark.encode(), b"\nevent: progress\ndata: ", data, b"\n\n"))
