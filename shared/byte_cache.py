"""An LRU cache with a limit in bytes.

Every cache that grows with what requests bring is a `ByteCache`. The caller gives the size of an
entry; `docs/explanation/memory.md` lists the limits of all caches.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, Literal, TypeVar, get_args
from weakref import WeakSet

CacheName = Literal["prompts", "label_sets", "classifiers"]
NAMES: tuple[CacheName, ...] = get_args(CacheName)

OVERHEAD_BYTES = 512
"""Size of an entry besides its arrays and strings: the key, the value object, the table entry."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class ByteCache(Generic[_K, _V]):
    """A thread-safe LRU cache; its name is that of its metric, if it has one.

    >>> cache = ByteCache[str, int]("prompts", max_bytes=100)
    >>> for key, size in (("a", 40), ("b", 40), ("c", 40), ("too large", 101)):
    ...     cache.put(key, 1, size_bytes=size)
    >>> [key for key in ("a", "b", "c", "too large") if cache.get(key)]
    ['b', 'c']
    >>> cache.size_bytes
    80
    """

    def __init__(self, name: CacheName | None, *, max_bytes: int) -> None:
        self.name = name
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[_K, tuple[_V, int]] = OrderedDict()
        _CACHES.add(self)

    @property
    def size_bytes(self) -> int:
        """The total size of all entries."""
        return self._size_bytes

    def get(self, key: _K) -> _V | None:
        """The value, which becomes the most recently used; None if it is missing."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: _K, value: _V, *, size_bytes: int) -> None:
        """Store or replace a value and evict the oldest; a value above the limit is not stored."""
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


_CACHES: WeakSet[ByteCache[Any, Any]] = WeakSet()


def total_bytes(name: CacheName) -> int:
    """The total size of all caches of this process with the name."""
    return sum(cache.size_bytes for cache in list(_CACHES) if cache.name == name)
