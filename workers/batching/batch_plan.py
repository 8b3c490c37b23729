"""Which waiting windows run together, and in what order.

A batch is led by the oldest request of the highest class that waits. The leader gives its longest
windows; younger requests of the class fill up with windows that are no longer, so that a batch is
nearly rectangular. No other class joins: a short fast batch stays short. Of bulk the job with the
fewest windows leads, and every fourth time the one that has waited longest: a small batch must not
wait for the parts of a large one, nor what is large for ever. The requests of such a job, its
parts, give windows together: among those of four parts more are of one length than among one's.

Pure but for the futures it asks whether they were cancelled: no thread, no clock. The thread and
the ending of futures are `workers.batching.microbatch`'s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple, Self

import numpy as np

from shared.types import Priority
from workers.models.port import Rows

SPECIAL_TOKENS = 2
"""Counted on top of every window: nearly all models put one token before and one behind."""
PASS_COST_DIVISOR = 16
"""A forward pass costs about budget/16 tokens whatever is in it (1.3 ms against 35 ms measured for
MiniLM on 2 cores at 1,024). A batch takes on that much padding rather than leave windows to a
second pass."""
AGEING_BATCHES = 16
"""A lower class gets one batch after this many full ones have passed it by: about 6 % of the time
under constant load from above, so bulk creeps on and fast loses little."""

OLDEST_LEADS = 4
"""Of so many batches of bulk one is led by the oldest job, the others by the smallest."""


@dataclass(eq=False, slots=True, kw_only=True)
class Request:
    """One submit: its distinct windows, those still waiting (by size), and the rows so far.

    A window is what the model takes: content ids of a text, or a picture.
    """

    windows: list[Any]  # U distinct windows
    places: list[int]  # for each window given, its place among the distinct
    sizes: list[int]  # of the waiting windows, ascending
    waiting: list[int]  # their places, in the order of `sizes`
    rows: Rows  # (U, D)
    missing: int
    priority: Priority
    deadline: float | None
    job: str  # whose requests of bulk belong together; empty for one by itself
    finish: Callable[[Rows], Rows] | None
    future: Future[Rows] = field(default_factory=Future)
    ended: bool = False

    @classmethod
    def of(
        cls,
        windows: Sequence[Any],
        priority: Priority,
        deadline: float | None,
        dimensions: int,
        finish: Callable[[Rows], Rows] | None = None,
        tokens: int | None = None,
        job: str = "",
    ) -> Self:
        """Merge equal windows and sort them by size.

        Windows that all cost the same number of `tokens` are compared as they are; others are
        sequences, and cost their lengths.
        """
        distinct: dict[Any, int] = {}
        units = windows if tokens is not None else map(tuple, windows)
        places = [distinct.setdefault(unit, len(distinct)) for unit in units]
        sizes = [tokens or len(window) + SPECIAL_TOKENS for window in distinct]
        waiting = sorted(range(len(sizes)), key=sizes.__getitem__)
        return cls(
            windows=list(distinct),
            places=places,
            sizes=[sizes[place] for place in waiting],
            waiting=waiting,
            rows=np.empty((len(sizes), dimensions), np.float32),
            missing=len(sizes),
            priority=priority,
            deadline=deadline,
            job=job,
            finish=finish,
        )

    def over(self) -> bool:
        """Whether nobody waits for the rows any more."""
        return self.ended or self.future.cancelled()

    def result(self) -> Rows:
        """What the future gets, once no row is missing."""
        repeated = len(self.places) > len(self.windows)
        rows = self.rows[self.places] if repeated else self.rows  # (n, D)
        return rows if self.finish is None else self.finish(rows)


class Pick(NamedTuple):
    """One window of a batch, and where its row goes."""

    request: Request
    place: int

    @property
    def window(self) -> Any:
        """What the model takes."""
        return self.request.windows[self.place]


class BatchPlan:
    """The waiting requests, and which of their windows run next. Not thread-safe, no clock."""

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._tokens = dict.fromkeys(Priority, 0)  # that wait
        self._queues: dict[Priority, list[Request]] = {priority: [] for priority in Priority}
        self._bulk_led = 0  # batches of bulk where there was a choice
        self._passed_by = dict.fromkeys(Priority, 0)  # tokens run while the class waited

    @property
    def pass_tokens(self) -> int:
        """What a forward pass costs whatever is in it."""
        return self.budget_tokens // PASS_COST_DIVISOR

    def shrink(self, budget_tokens: int) -> bool:
        """Cut smaller batches from now on; False if they are that small already."""
        if budget_tokens >= self.budget_tokens:
            return False
        self.budget_tokens = max(1, budget_tokens)
        return True

    def add(self, request: Request) -> None:
        """Put a request behind its class."""
        if request.sizes:
            self._queues[request.priority].append(request)
            self._tokens[request.priority] += sum(request.sizes)

    def tokens(self, priority: Priority = Priority.BULK) -> int:
        """Tokens that wait in the class and in those above it."""
        return sum(count for of, count in self._tokens.items() if of <= priority)

    def waiting(self) -> bool:
        """Whether any window waits."""
        return any(self._queues.values())

    def clear(self) -> None:
        """Forget everything."""
        for queue in self._queues.values():
            queue.clear()
        self._tokens = dict.fromkeys(Priority, 0)

    def drop(self, now: float) -> list[Request]:
        """Take out the requests that were cancelled, ended or are past their deadline."""
        dropped: list[Request] = []
        for queue in self._queues.values():
            gone = {r for r in queue if r.over() or (r.deadline is not None and r.deadline <= now)}
            if gone:
                queue[:] = [request for request in queue if request not in gone]
                for request in gone:
                    self._tokens[request.priority] -= sum(request.sizes)
                dropped += gone
        return dropped

    def cut(self) -> list[Pick]:
        """Take out the next batch: padded within the budget, or one window alone."""
        queue = self._next_queue()
        if not queue:
            return []
        shelves = self._shelves(queue)
        longest = shelves[0][0].sizes[-1]
        picks = self._take(shelves, max(1, self.budget_tokens // longest), longest)
        padding = self.pass_tokens
        while longer := min((r.sizes[0] for r in queue if r.sizes), default=0):
            # With room left, all that waits is longer: is lifting the batch cheaper than a pass?
            padding -= len(picks) * (longer - longest)
            room = self.budget_tokens // longer - len(picks)
            if padding < 0 or room <= 0 or longer <= longest:
                break
            longest = longer
            picks += self._take(shelves, room, longest)
        queue[:] = [request for request in queue if request.sizes]
        self._count(queue, len(picks) * longest)
        return picks

    def _next_queue(self) -> list[Request] | None:
        """The highest class that waits, or a lower one that was passed by long enough."""
        waiting = [priority for priority in Priority if self._queues[priority]]
        patience = AGEING_BATCHES * self.budget_tokens
        aged = [priority for priority in waiting if self._passed_by[priority] >= patience]
        chosen = (aged or waiting)[:1]
        return self._queues[chosen[0]] if chosen else None

    def _shelves(self, queue: list[Request]) -> list[list[Request]]:
        """The requests that give windows together: who leads, and then the others by age."""
        if queue[0].priority is not Priority.BULK:
            return [[request] for request in queue]
        jobs: dict[object, list[Request]] = {}
        for request in queue:
            jobs.setdefault(request.job or id(request), []).append(request)
        shelves = list(jobs.values())
        if len(shelves) > 1:
            self._bulk_led += 1
            if self._bulk_led % OLDEST_LEADS:
                smallest = min(shelves, key=lambda shelf: sum(len(r.sizes) for r in shelf))
                shelves.remove(smallest)
                shelves.insert(0, smallest)
        return shelves

    def _take(self, shelves: Iterable[Sequence[Request]], room: int, longest: int) -> list[Pick]:
        """Up to `room` windows of at most `longest`: of each shelf in turn the longest."""
        picks: list[Pick] = []
        for shelf in shelves:
            if len(picks) >= room:
                break
            ends = [bisect_right(request.sizes, longest) for request in shelf]
            starts = _longest(shelf, ends, room - len(picks))
            for request, start, end in zip(shelf, starts, ends, strict=True):
                picks += [Pick(request, place) for place in request.waiting[start:end]]
                self._tokens[request.priority] -= sum(request.sizes[start:end])
                del request.sizes[start:end], request.waiting[start:end]
        return picks

    def _count(self, served: list[Request], padded_tokens: int) -> None:
        """Remember for each class how much ran ahead of it."""
        for priority, queue in self._queues.items():
            if queue is served or not queue:
                self._passed_by[priority] = 0
            else:
                self._passed_by[priority] += padded_tokens + self.pass_tokens


def _longest(shelf: Sequence[Request], ends: Sequence[int], room: int) -> list[int]:
    """Where in each request the `room` longest of all windows before `ends` begin."""
    starts = list(ends)
    tops = [
        (-r.sizes[end - 1], i) for i, (r, end) in enumerate(zip(shelf, ends, strict=True)) if end
    ]
    heapify(tops)
    for _ in range(room):
        if not tops:
            break
        i = tops[0][1]
        starts[i] -= 1
        if starts[i]:
            heapreplace(tops, (-shelf[i].sizes[starts[i] - 1], i))
        else:
            heappop(tops)
    return starts
