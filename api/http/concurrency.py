"""Throttling: a limit on the in-flight calls to models in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from shared.errors import TooBusy

RESERVED_THREADS = 16  # never given to such calls: health, polling and metrics always get one


class ConcurrencyLimit:
    """A bounded number of calls; one more is refused, not queued.

    Args:
        count: Of the slots.
        within: The limit whose slots these calls hold too, so that they never hold all of those.
    """

    def __init__(self, count: int, *, within: ConcurrencyLimit | None = None) -> None:
        self._count = count
        self._within = within
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot, and one of the limit that it is within.

        Raises:
            TooBusy: All slots are taken.
        """
        if not self._free.acquire(blocking=False):
            raise TooBusy(
                f"{self._count} calls are in flight, the limit of this process; try again shortly",
                retry_after_s=1,
            )
        try:
            with self._within.one() if self._within else nullcontext():
                yield
        finally:
            self._free.release()
