"""How many calls that wait for a model run at once in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import TooBusy

RESERVED_THREADS = 16  # never given to such calls: health, polling and metrics always get one


class ConcurrencyLimit:
    """A bounded number of calls; one more is refused, not queued."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            TooBusy: All are held.
        """
        if not self._free.acquire(blocking=False):
            raise TooBusy(
                f"{self._count} calls are being answered; try again shortly", retry_after_s=1
            )
        try:
            yield
        finally:
            self._free.release()
