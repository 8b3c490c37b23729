"""How much the keeper deletes at once: an error must not cost everything before it is noticed.

What expires in normal life is a small share of what there is. A sweep that would delete more than
`MAX_SHARE` of what it looked at, and more than `MIN_DELETIONS`, deletes nothing and says so. If the
next one, an interval later and after the clocks were compared again, finds the same, it deletes the
oldest up to the limit, and so does each sweep after it. So a service that was away for a week gets
rid of a week's jobs within hours, and an operator has time to see it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from shared.telemetry import Log

log = Log("deletion_limit")
MIN_DELETIONS = 100
MAX_SHARE = 0.2
T = TypeVar("T")


class DeletionLimit:
    """The limit for one kind of thing, over all sweeps of this process."""

    def __init__(
        self, kind: str, *, wait_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing was swept yet.

        Args:
            kind: What is deleted, for the log.
            wait_s: The least time between the first look and the second.
            monotonic: Seconds that only grow.
        """
        self._kind = kind
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._noticed_at: float | None = None

    def allowed(self, expired: Sequence[T], kept: Iterable[object]) -> Sequence[T]:
        """Those that may be deleted now.

        Args:
            expired: What should be deleted, the oldest first.
            kept: What the sweep looked at beside them; read only as far as it matters.
        """
        if len(expired) <= MIN_DELETIONS:
            self._noticed_at = None
            return expired
        enough = round(len(expired) * (1 / MAX_SHARE - 1))
        looked_at = len(expired) + sum(1 for _ in islice(kept, enough))
        limit = max(MIN_DELETIONS, int(looked_at * MAX_SHARE))
        if len(expired) <= limit:
            self._noticed_at = None
            return expired
        now = self._monotonic()
        first_look = self._noticed_at is None
        if self._noticed_at is None:
            self._noticed_at = now
        waits = first_look or now - self._noticed_at < self._wait_s
        log.warning(
            "retention.held" if waits else "retention.limited",
            kind=self._kind,
            expired=len(expired),
            looked_at=looked_at,
            deletes=0 if waits else limit,
        )
        return () if waits else expired[:limit]
