"""How fast a job is of late, from what its parts have brought: a moving rate.

The ledger keeps the samples, and adds to them when a part ends, so the rate depends neither on how
often it is asked for nor on which process asks. A sample is what came out within a second:

    start ── 500 ── 500 ──── 480 ── (pause) start ── 500 ── 500
                        └────────── window ──────────────────┘

The window ends with the last sample. It is as long as it takes to hold `WINDOW_S` seconds of work
and four times the longest interval in it, so that large parts, and parts that end together, do not
make the rate jump. A pause, in which no worker held a part of the job for a minute, is not work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WINDOW_S = 10.0
_INTERVALS = 4
_STALLED = 10  # windows without a sample, after which the rate is 0


@dataclass(frozen=True, kw_only=True)
class WorkSample:
    """Items that came out or failed up to `at_s`, since the sample before.

    With `start`, work began at `at_s`, for the first time or after a pause; it brought no items.
    """

    at_s: float
    items: int = 0
    start: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkDone:
    """Items of the parts that have ended. `rate_per_s` is None until a part has brought any."""

    completed: int
    failed: int
    rate_per_s: float | None = None


def moving_rate(samples: Sequence[WorkSample], now_s: float) -> float | None:
    """Items a second in the window that ends with the last sample.

    While nothing comes out for longer than the window explains, the rate falls, and is 0 in the
    end.

    Args:
        samples: In order of time.
        now_s: The time, on the clock of the samples.

    Returns:
        None where no items came out yet.
    """
    items, worked_s, max_s = 0, 0.0, 0.0
    window_s = WINDOW_S
    for before, sample in reversed(list(pairwise(samples))):
        if not sample.start:
            interval_s = max(0.0, sample.at_s - before.at_s)
            items, worked_s = items + sample.items, worked_s + interval_s
            max_s = max(max_s, interval_s)
        window_s = max(WINDOW_S, _INTERVALS * max_s)
        if worked_s >= window_s:
            break
    if not items or not worked_s:
        return None
    quiet_s = now_s - samples[-1].at_s
    overdue_s = max(0.0, quiet_s - max(WINDOW_S, 2 * max_s))
    return 0.0 if overdue_s > _STALLED * window_s else items / (worked_s + overdue_s)
