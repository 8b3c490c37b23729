"""A limit on deletions per sweep, so that an error cannot delete everything before it is noticed.

In normal operation a small share of the objects expires per sweep. A sweep that would delete more
than `MAX_SHARE` of the objects it examined, and more than `MIN_DELETIONS`, deletes nothing and logs
a warning. If the next sweep, an interval later and after another clock comparison, finds the same,
it deletes the oldest objects up to the limit, and so does each later sweep. A service that was down
for a week thereby deletes a week's jobs within hours, and an operator has time to intervene.
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
    """The limit for one kind of object, across all sweeps of this process."""

    def __init__(
        self, kind: str, *, wait_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Create the limit before the first sweep.

        Args:
            kind: The kind of object, for the log.
            wait_s: Minimum seconds between the sweep that warns and the first that deletes.
            monotonic: A monotonic clock, in seconds.
        """
        self._kind = kind
        self._wait_s = wait_s
        self._monotonic = monotonic
        self._noticed_at: float | None = None

    def allowed(self, expired: Sequence[T], kept: Iterable[object]) -> Sequence[T]:
        """The expired objects that may be deleted now.

        Args:
            expired: The expired objects, oldest first.
            kept: The other objects of the sweep; read only as far as the limit depends on them.
        """
        if len(expired) <= MIN_DELETIONS:
            self._noticed_at = None
            return expired
        enough = round(len(expired) * (1 / MAX_SHARE - 1))
        examined = len(expired) + sum(1 for _ in islice(kept, enough))
        limit = max(MIN_DELETIONS, int(examined * MAX_SHARE))
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
            looked_at=examined,
            deletes=0 if waits else limit,
        )
        return () if waits else expired[:limit]
