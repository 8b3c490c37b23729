"""What becomes of a batch that does not fit, and how many items do."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch

from shared.errors import Unavailable
from workers.models.gpu_memory import SHARE, freeing, measure_budget

FREE = 1_000_000


class Memory:
    """A device where a batch takes a fixed part and a part for each item."""

    def __init__(self, *, fixed: int, each: int) -> None:
        self._fixed, self._each = fixed, each
        self.items: list[int] = []

    def encode(self, items: int) -> None:
        self.items.append(items)

    def free_bytes(self) -> int:
        return FREE

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        first = 5000 if len(self.items) == 1 else 0  # kernels are loaded in the first pass
        return first + self._fixed + self._each * self.items[-1]


class Batch:
    """Something whose end can be seen."""


@pytest.mark.parametrize(("fixed", "each"), [(0, 1000), (200_000, 1000), (50_000, 7)])
def test_the_budget_is_the_largest_batch_that_fits(fixed: int, each: int) -> None:
    memory = Memory(fixed=fixed, each=each)

    budget = measure_budget(memory.encode, memory=memory, probe=8, most=10**9)

    assert fixed + each * budget <= FREE * SHARE
    assert fixed + each * (budget + 1) > FREE * SHARE
    assert max(memory.items) == 8


def test_a_batch_of_one_is_always_tried() -> None:
    memory = Memory(fixed=0, each=10 * FREE)

    assert measure_budget(memory.encode, memory=memory, probe=2, most=64) == 1


def test_the_budget_ends_where_the_caller_says() -> None:
    cheap, free_of_charge = Memory(fixed=0, each=1), Memory(fixed=100, each=0)

    assert measure_budget(cheap.encode, memory=cheap, probe=8, most=64) == 64
    assert measure_budget(free_of_charge.encode, memory=free_of_charge, probe=8, most=64) == 64


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB."),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        (RuntimeError, "not enough memory: you tried to allocate 8 bytes"),
        (MemoryError, "std::bad_alloc"),
    ],
)
def test_a_batch_that_does_not_fit_is_freed_before_anyone_is_told(
    kind: type[Exception], said: str
) -> None:
    held: list[weakref.ref[Batch]] = []

    def work() -> None:
        batch = Batch()
        held.append(weakref.ref(batch))
        raise kind(said)

    with pytest.raises(Unavailable, match="not enough memory for 9 images") as caught:
        freeing(work, what="9 images")

    assert caught.value.__context__ is None
    assert held[0]() is None


def test_other_errors_stay_what_they_are() -> None:
    def work() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        freeing(work, what="1 text")


def test_what_fits_is_given_back() -> None:
    assert freeing(lambda: 3, what="1 text") == 3
