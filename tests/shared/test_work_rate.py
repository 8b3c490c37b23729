"""The moving rate of a job: what a caller is told of speeds that change, pause and stall."""

from __future__ import annotations

from itertools import accumulate, chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.work_rate import WINDOW_S, WorkSample, moving_rate

START = WorkSample(at_s=1000.0, start=True)


def after(intervals: list[float], items: int = 10, start: WorkSample = START) -> list[WorkSample]:
    """Samples of as many items each, at these intervals, after a start."""
    times = accumulate(intervals, initial=start.at_s)
    next(times)
    return [start, *(WorkSample(at_s=at_s, items=items) for at_s in times)]


def rate(samples: list[WorkSample], quiet_s: float = 0.0) -> float | None:
    return moving_rate(samples, samples[-1].at_s + quiet_s)


def test_there_is_none_before_items_came_out():
    assert moving_rate([], 0.0) is None
    assert rate([START]) is None
    assert rate([START], quiet_s=3600) is None


def test_the_first_items_tell_it():
    assert rate(after([4.0], items=20)) == pytest.approx(5.0)


@given(st.floats(0.05, 120.0), st.floats(0.05, 120.0), st.integers(1, 500))
def test_a_new_speed_is_told_within_a_window(old_s: float, new_s: float, items: int):
    enough = int(max(WINDOW_S / new_s, 4)) + 2  # sums of intervals are not exact
    samples = after([*repeat(old_s, 50), *repeat(new_s, enough)], items)

    assert rate(samples) == pytest.approx(items / new_s, rel=1e-6)


def test_a_slow_first_part_is_forgotten():
    mean = 41 * 10 / 50
    assert rate(after([10.0, *repeat(1.0, 40)])) == pytest.approx(10.0)
    assert mean == pytest.approx(8.2)


def test_parts_that_end_together_do_not_make_it_jump():
    """Sixteen parts of 100 s at once, whose ends are spread over 3 s: 1.6 items a second."""
    rounds = list(chain.from_iterable([97.0, *repeat(0.2, 15)] for _ in range(4)))
    found = [rate(after(rounds[:end])) for end in range(32, 65)]

    assert all(each == pytest.approx(1.6, rel=0.35) for each in found)


def test_it_stays_between_two_parts_and_falls_where_none_comes():
    samples = after([*repeat(2.0, 20)])
    steady = rate(samples)

    assert steady == pytest.approx(5.0)
    assert rate(samples, quiet_s=9.0) == steady
    falling = [rate(samples, quiet_s=quiet_s) for quiet_s in (20, 30, 60)]
    assert falling == sorted(falling, reverse=True)
    assert rate(samples, quiet_s=20) == pytest.approx(2.5)
    assert rate(samples, quiet_s=600) == 0.0


def test_a_pause_is_not_slow_work():
    before = after([*repeat(1.0, 30)])
    again = WorkSample(at_s=before[-1].at_s + 3600, start=True)
    samples = [*before, *after([1.0, 1.0], start=again)]

    assert rate(samples) == pytest.approx(10.0)


def test_a_clock_that_is_set_back_does_no_harm():
    samples = [START, WorkSample(at_s=1001, items=5), WorkSample(at_s=900, items=5)]

    assert moving_rate(samples, 890.0) == pytest.approx(10.0)
