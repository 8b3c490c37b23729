from __future__ import annotations

import threading
import time

import pytest

from workers.concurrent_map import concurrent_map


def test_results_are_in_order_and_calls_overlap():
    together = threading.Barrier(4)

    def call(number: int) -> int:
        together.wait(timeout=60)
        time.sleep(0.01 * (4 - number % 4))
        return number

    assert list(concurrent_map(call, range(8), threads=4)) == list(range(8))


def test_items_are_read_only_so_far_ahead():
    read: list[int] = []

    def items():
        for number in range(20):
            read.append(number)
            yield number

    results = concurrent_map(lambda number: number, items(), threads=3)
    assert next(results) == 0
    assert read == [0, 1, 2, 3]
    assert list(results) == list(range(1, 20))


def test_an_error_ends_it_after_the_calls_in_flight():
    ended: list[int] = []

    def call(number: int) -> None:
        if number == 0:
            raise OSError("away")
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(OSError, match="away"):
        list(concurrent_map(call, range(100), threads=3))
    assert sorted(ended) == [1, 2]
