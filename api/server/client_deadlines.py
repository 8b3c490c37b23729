"""Deadlines for slow clients: sending a body, and reading a response."""

from __future__ import annotations

BYTES_PER_S = 32 * 1024


class TransferDeadline:
    """A deadline that moves with the bytes of one transfer.

    Between two pieces `timeout_s` may pass, and the whole may take `timeout_s` and a second for
    each 32 KiB that have arrived: a byte at a time does not keep a transfer alive.

    >>> pace = TransferDeadline(15, now=0)
    >>> pace.moved(1, now=10)
    >>> round(pace.deadline, 1)
    15.0
    >>> pace.moved(32 * 1024 * 60, now=11)
    >>> pace.deadline  # 15 s after the last piece
    26
    """

    def __init__(self, timeout_s: float, *, now: float) -> None:
        self._timeout_s = timeout_s
        self._began = now
        self._last = now
        self._bytes = 0

    def moved(self, count: int, *, now: float) -> None:
        """Note that so many bytes came or went."""
        self._bytes += count
        self._last = now

    def resumed(self, paused_s: float, *, now: float) -> None:
        """Go on after a pause that the client did not cause."""
        self._began += paused_s
        self._last = now

    @property
    def deadline(self) -> float:
        """When the transfer is given up, unless more moves before."""
        whole = self._began + self._timeout_s + self._bytes / BYTES_PER_S
        return min(whole, self._last + self._timeout_s)
