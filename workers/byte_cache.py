"""A cache that is bounded by bytes: what was used last stays, the oldest goes.

Every cache of a worker that grows with what is sent to it is one of these. What an entry takes is
said by who puts it in; what all of them may take stands in `docs/explanation/memory.md`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

OVERHEAD_BYTES = 512
"""Of an entry beside its arrays and strings: the key, the value's object, their places in here."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class ByteCache(Generic[_K, _V]):
    """Safe for any thread.

    >>> cache = ByteCache[str, int](max_bytes=100)
    >>> for key, size in (("a", 40), ("b", 40), ("c", 40), ("too large", 101)):
    ...     cache.put(key, 1, size_bytes=size)
    >>> [key for key in ("a", "b", "c", "too large") if cache.get(key)]
    ['b', 'c']
    >>> cache.size_bytes
    80
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[_K, tuple[_V, int]] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Of all entries."""
        return self._size_bytes

    def get(self, key: _K) -> _V | None:
        """The value, which is used hereby; None if it is not here."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: _K, value: _V, *, size_bytes: int) -> None:
        """Keep a value in the place of any other of its key; one larger than the bound is not."""
        with self._lock:
            if key in self._entries:
                self._size_bytes -= self._entries.pop(key)[1]
            if size_bytes > self._max_bytes:
                return
            self._entries[key] = value, size_bytes
            self._size_bytes += size_bytes
            while self._size_bytes > self._max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._size_bytes -= freed
