"""GPU memory of a forward pass: out-of-memory errors, and the measurement of the token budget.

This module detects out-of-memory errors and frees the memory before it reports them. The
microbatcher (`workers.microbatching.microbatcher`) then runs smaller microbatches.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from shared.errors import Unavailable

Result = TypeVar("Result")

SHARE = 0.8
"""Of the free memory, for one batch; the rest is for fragments and for other processes."""


class MemoryProbe(Protocol):
    """How much memory a device has, and how much work takes of it."""

    def free_bytes(self) -> int:
        """What a batch could take now."""

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Runs the work; the most that it held at once, on top of what was held before."""


class CudaMemory:
    """The memory of a CUDA device, as torch's allocator sees it."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def free_bytes(self) -> int:
        """Free on the device, and reserved by torch without use."""
        free, _ = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        return free + reserved - torch.cuda.memory_allocated(self._device)

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """By torch's own count."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before


def measure_budget(
    encode: Callable[[int], object], *, memory: MemoryProbe, probe: int, most: int
) -> int:
    """How many items one batch may hold, from what two small batches take.

    What a batch takes is a part that does not depend on its size and a part for each item; two
    batches tell them apart.

    Args:
        encode: runs a batch of so many items: tokens or images, at their full size.
        memory: of the device that it runs on.
        probe: items of the larger batch, 2 or more; the smaller has half.
        most: the answer where memory sets no limit.

    Returns:
        1 to `most` items.
    """
    small = max(1, probe // 2)
    memory.peak_bytes(lambda: encode(small))  # kernels and workspaces, held from now on
    taken = memory.peak_bytes(lambda: encode(small))
    more = memory.peak_bytes(lambda: encode(probe))
    each = (more - taken) / (probe - small)
    if each <= 0:
        return most
    fixed = max(0.0, taken - each * small)
    return max(1, min(most, int((memory.free_bytes() * SHARE - fixed) / each)))


def freeing(work: Callable[[], Result], *, what: str) -> Result:
    """Do the work; where memory runs out, free what it took, and only then say so.

    Args:
        work: a forward pass; it holds no memory outside its own frames.
        what: that pass, for the sentence.

    Raises:
        Unavailable: memory ran out.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as exc:
        if not out_of_memory(exc):
            raise
    # Here the error is gone, and with it the frames in its traceback, which held the batch.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise Unavailable(f"There was not enough memory for {what}; a smaller request may fit.")


def out_of_memory(error: BaseException) -> bool:
    """Whether torch said by this error, in one of its ways, that memory ran out.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to …"))
    True
    >>> out_of_memory(RuntimeError("shape mismatch"))
    False
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    message = str(error)
    return isinstance(error, RuntimeError) and any(sign in message for sign in _SIGNS)


_SIGNS = (
    "not enough memory",
    "can't allocate memory",
    "bad_alloc",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
