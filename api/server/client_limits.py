"""Throttling by client address: connections, in-flight requests and bytes of bodies in a process.

All of it belongs to the event loop: no locks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable


class PerAddress:
    """Counts something by client address, up to `max_each`."""

    def __init__(self, max_each: int) -> None:
        self.max_each = max_each
        self._counts: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Count one more; False where the address has as many as it may."""
        if self._counts[address] >= self.max_each:
            return False
        self._counts[address] += 1
        return True

    def give_back(self, address: str) -> None:
        """Count one less."""
        self._counts[address] -= 1
        if self._counts[address] <= 0:
            del self._counts[address]


class ByteBudget:
    """Bytes of request bodies that are held at once; one address has at most half of them.

    >>> budget, begun = ByteBudget(100), []
    >>> budget.take("a", 50, "first", lambda: begun.append("first"))
    True
    >>> budget.take("a", 10, "second", lambda: begun.append("second"))
    False
    >>> budget.take("b", 50, "third", lambda: begun.append("third"))
    True
    >>> budget.give_back("a", 50)
    >>> begun
    ['second']
    """

    def __init__(self, max_bytes: int, *, min_share: int = 0) -> None:
        self._left = max_bytes
        self._share = max(max_bytes // 2, min_share)
        self._held: Counter[str] = Counter()
        # whose turn it is next: (address, bytes, what to do then)
        self._waiting: OrderedDict[object, tuple[str, int, Callable[[], None]]] = OrderedDict()

    def take(self, address: str, count: int, owner: object, then: Callable[[], None]) -> bool:
        """Take so many bytes; where they are not to be had, `then` is called once they were taken.

        Args:
            address: Whose they are.
            count: How many.
            owner: Who waits, for `cancel`.
            then: Called later, and only if the answer is False.
        """
        if self._fits(address, count):
            self._add(address, count)
            return True
        self._waiting[owner] = (address, count, then)
        return False

    def cancel(self, owner: object) -> None:
        """Wait no longer."""
        self._waiting.pop(owner, None)

    def give_back(self, address: str, count: int) -> None:
        """Give bytes back, to those who wait for them in turn."""
        self._add(address, -count)
        if self._held[address] <= 0:
            del self._held[address]
        for owner, (other, wanted, then) in list(self._waiting.items()):
            if self._fits(other, wanted):
                del self._waiting[owner]
                self._add(other, wanted)
                then()

    def _fits(self, address: str, count: int) -> bool:
        return count <= self._left and self._held[address] + count <= self._share

    def _add(self, address: str, count: int) -> None:
        self._left -= count
        self._held[address] += count
