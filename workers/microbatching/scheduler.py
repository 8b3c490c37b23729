"""The scheduler of windows: which queued windows run in one microbatch, and in what order.

A microbatch holds windows of the highest waiting priority class only, so that a short fast one
stays short. One request leads it and contributes its longest windows; other requests of the class
fill it with windows that are no longer, so that the microbatch is nearly rectangular.

Accounts are served by fair queueing on the tokens that ran for them
(`workers.microbatching.fair_order`): no waiting account is more than one microbatch ahead of
another, whatever the number and length of its requests. Since any caller may request `fast`, it
precedes the `standard` requests of other accounts in every second microbatch only; in the others
they are served in fair order. Each window is charged with its padding.

Within an account a request of n tokens precedes the requests that arrive after n more tokens have
run. A short request therefore does not wait for a long one, and a long one does not starve. Among
bulk jobs, the job with the fewest windows leads, and every fourth time the job that has waited
longest: a small batch must not wait for the parts of a large one. The requests of a bulk job, its
parts, contribute windows together: four parts have more windows of one length than a single part.

This module is pure except for checking whether futures are cancelled: no threads and no clock.
`workers.microbatching.microbatcher` has the thread and ends the futures.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import Any, NamedTuple, Self

import numpy as np

from shared import tracing
from shared.types import Priority
from workers.microbatching.fair_order import FairOrder
from workers.models.port import Rows, TextPair
from workers.work_context import WorkContext

SPECIAL_TOKENS = 2
"""Added to the length of every window: most models add a token at each end."""
PASS_COST_DIVISOR = 16
"""A forward pass has a fixed cost of about budget/16 tokens (1.3 ms of 35 ms, measured for MiniLM
on 2 cores at 1,024). A microbatch accepts that much padding rather than leave windows to a second
pass."""
AGEING_BATCHES = 16
"""A lower class gets one microbatch after this many full ones of higher classes: about 6 % of the
time under constant higher load, so that bulk progresses and fast loses little."""

SMALL_DIVISOR = 4
"""Requests of up to a quarter of the budget run in order of arrival and fill microbatches together:
if the smallest led, its microbatches would be too short for the others to fill."""

OLDEST_LEADS = 4
"""One of this many bulk microbatches is led by the oldest job, the others by the smallest job."""


@dataclass(eq=False, slots=True, kw_only=True)
class EmbeddingRequest:
    """One submitted request: its distinct windows, those still queued, and its rows so far.

    A window is an input of the model: content ids of a text, or an image.
    """

    windows: list[Any]  # U distinct windows
    places: list[int]  # for each submitted window, its index in `windows`
    sizes: list[int]  # of the queued windows, ascending
    waiting: list[int]  # their indexes in `windows`, in the order of `sizes`
    rows: Rows  # (U, D)
    missing: int
    priority: Priority
    deadline: float | None
    account: str  # the account that is charged
    span: tracing.Span | None
    job: str  # groups bulk requests; empty: no group
    finish: Callable[[Rows], Rows] | None
    tokens: int  # of the queued windows
    future: Future[Rows] = field(default_factory=Future)
    ended: bool = False
    turn: float = 0.0  # order among the requests of its account; the scheduler sets it

    @classmethod
    def of(
        cls,
        windows: Sequence[Any],
        context: WorkContext,
        dimensions: int,
        finish: Callable[[Rows], Rows] | None = None,
        tokens: int | None = None,
    ) -> Self:
        """Merge equal windows and sort them by size.

        Windows that all cost the same number of `tokens` are compared as they are; others are
        sequences, and cost their lengths.
        """
        known: dict[Any, int] = {}
        keys = windows if tokens is not None else map(_key, windows)
        places = [known.setdefault(key, len(known)) for key in keys]
        distinct: list[Any] = [None] * len(known)
        for place, window in zip(reversed(places), reversed(windows), strict=True):
            distinct[place] = window
        sizes = [tokens or len(window) + SPECIAL_TOKENS for window in distinct]
        waiting = sorted(range(len(sizes)), key=sizes.__getitem__)
        return cls(
            windows=distinct,
            places=places,
            sizes=[sizes[place] for place in waiting],
            waiting=waiting,
            rows=np.empty((len(sizes), dimensions), np.float32),
            missing=len(sizes),
            priority=context.priority,
            deadline=context.deadline,
            account=context.account,
            span=context.span,
            job=context.job,
            finish=finish,
            tokens=sum(sizes),
        )

    def over(self) -> bool:
        """Whether the future has ended or was cancelled."""
        return self.ended or self.future.cancelled()

    def result(self) -> Rows:
        """The result of the future, once no row is missing."""
        repeated = len(self.places) > len(self.windows)
        rows = self.rows[self.places] if repeated else self.rows  # (n, D)
        return rows if self.finish is None else self.finish(rows)


def _key(window: Sequence[int] | TextPair) -> Any:
    """A key that equal windows share: bytes of an array, 4 per id, where a tuple takes 36."""
    if isinstance(window, TextPair):
        return window
    return window.tobytes() if isinstance(window, array) else tuple(window)


class ScheduledWindow(NamedTuple):
    """One window of a microbatch, and the index of its row."""

    request: EmbeddingRequest
    place: int

    @property
    def window(self) -> Any:
        """The input of the model."""
        return self.request.windows[self.place]


class MicrobatchScheduler:
    """The queued requests, and the choice of the next windows. Not thread-safe; no clock."""

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._queues: dict[Priority, list[EmbeddingRequest]] = {
            priority: [] for priority in Priority
        }
        self._tokens: dict[Priority, Counter[str]] = {priority: Counter() for priority in Priority}
        self._call_turns = FairOrder()  # `fast` and `standard`: any caller may request `fast`
        self._bulk_turns = FairOrder()
        self._jumped = False  # whether the last microbatch was `fast` and out of fair order
        self._ran: dict[Priority, Counter[str]] = {priority: Counter() for priority in Priority}
        self._bulk_led: Counter[str] = (
            Counter()
        )  # bulk microbatches where an account had several jobs
        self._passed_by = dict.fromkeys(Priority, 0)  # tokens that ran while the class waited

    @property
    def pass_tokens(self) -> int:
        """The fixed cost of a forward pass, in tokens."""
        return self.budget_tokens // PASS_COST_DIVISOR

    def shrink(self, budget_tokens: int) -> bool:
        """Reduce the budget of later microbatches; False if it is that small already."""
        if budget_tokens >= self.budget_tokens:
            return False
        self.budget_tokens = max(1, budget_tokens)
        return True

    def add(self, request: EmbeddingRequest) -> None:
        """Queue a request."""
        if request.sizes:
            cost = _rounded(request.tokens, self.budget_tokens // SMALL_DIVISOR)
            request.turn = self._ran[request.priority][request.account] + cost
            self._queues[request.priority].append(request)
            self._tokens[request.priority][request.account] += request.tokens

    def tokens(self, priority: Priority = Priority.BULK) -> int:
        """Queued tokens of the class and the classes above it."""
        return sum(count.total() for of, count in self._tokens.items() if of <= priority)

    def tokens_of(self, priority: Priority = Priority.BULK) -> Counter[str]:
        """The queued tokens by account, without zeros."""
        return sum((c for of, c in self._tokens.items() if of <= priority), Counter[str]())

    def waiting(self) -> bool:
        """Whether any window is queued."""
        return any(self._queues.values())

    def clear(self) -> None:
        """Remove all requests."""
        for priority, queue in self._queues.items():
            queue.clear()
            self._forget(priority)

    def drop(self, now: float) -> list[EmbeddingRequest]:
        """Remove the requests that were cancelled, have ended, or are past their deadline."""
        dropped: list[EmbeddingRequest] = []
        for priority, queue in self._queues.items():
            expired = {
                r for r in queue if r.over() or (r.deadline is not None and r.deadline <= now)
            }
            if expired:
                queue[:] = [request for request in queue if request not in expired]
                for request in expired:
                    self._tokens[priority][request.account] -= request.tokens
                self._forget(priority)
                dropped += expired
        return dropped

    def cut(self) -> list[ScheduledWindow]:
        """Remove the next microbatch: within the budget, padding included, or a single window."""
        fast, standard, bulk = ({r.account for r in queue} for queue in self._queues.values())
        self._call_turns.advance(fast | standard)
        self._bulk_turns.advance(bulk)
        priority = self._next_class()
        if priority is None:
            return []
        queue = self._queues[priority]
        groups = self._groups(priority)
        leader = groups[0][0]
        room_of = self._rooms(groups, leader)
        longest = max(request.sizes[-1] for request in groups[0])
        picks = self._take(groups, max(1, self.budget_tokens // longest), longest, room_of)
        padding = self.pass_tokens
        while longer := min(
            (r.sizes[0] for r in queue if r.sizes and r.sizes[0] <= room_of[r.account]), default=0
        ):
            # All queued windows are longer: is padding the microbatch cheaper than another pass?
            padding -= len(picks) * (longer - longest)
            room = self.budget_tokens // longer - len(picks)
            if padding < 0 or room <= 0 or longer <= longest:
                break
            longest = longer
            picks += self._take(groups, room, longest, room_of)
        queue[:] = [request for request in queue if request.sizes]
        self._charge(priority, picks, longest)
        self._forget(priority)
        self._count(queue, len(picks) * longest)
        return picks

    def _next_class(self) -> Priority | None:
        """The highest waiting class, or a lower one that has waited long enough (ageing).

        After a `fast` microbatch out of fair order, it is the class of the account that waited.
        """
        waiting = [priority for priority in Priority if self._queues[priority]]
        patience = AGEING_BATCHES * self.budget_tokens
        aged = [priority for priority in waiting if self._passed_by[priority] >= patience]
        if aged or not waiting:
            return aged[0] if aged else None
        if len(waiting) == 1 or waiting[1] is Priority.BULK:
            return waiting[0]
        fast, standard = ({s[0][0].account: at for at, s in self._in_turn(p)} for p in waiting[:2])
        others = [ends for account, ends in standard.items() if account not in fast]
        late = bool(others) and min(others) < min(fast.values())
        self._jumped = late and not self._jumped
        return waiting[1 if late and not self._jumped else 0]

    def _turns(self, priority: Priority) -> FairOrder:
        return self._bulk_turns if priority is Priority.BULK else self._call_turns

    def _groups(self, priority: Priority) -> list[list[EmbeddingRequest]]:
        """Groups of requests that contribute windows together, in fair order; the first leads."""
        in_turn = self._in_turn(priority)
        first = in_turn[0][1]
        if priority is Priority.BULK and len(first) > 1:
            self._bulk_led[first[0][0].account] += 1
        return [group for _, groups in in_turn for group in groups]

    def _in_turn(self, priority: Priority) -> list[tuple[float, list[list[EmbeddingRequest]]]]:
        """For each account, the virtual end of its next microbatch, and its groups of requests."""
        by_account: dict[str, list[EmbeddingRequest]] = {}
        for request in self._queues[priority]:
            by_account.setdefault(request.account, []).append(request)
        turns = self._turns(priority)
        ordered: list[tuple[float, list[list[EmbeddingRequest]]]] = []
        for account, requests in by_account.items():
            if priority is Priority.BULK:
                groups = self._jobs(account, requests)
            else:
                groups = [[request] for request in sorted(requests, key=lambda r: r.turn)]
            cost = self._batch_cost(groups[0])
            cost = min(_rounded(cost, self.pass_tokens), max(cost, self.budget_tokens))
            ordered.append((turns.place(account) + cost, groups))
        return sorted(ordered, key=lambda each: each[0])

    def _jobs(
        self, account: str, requests: Sequence[EmbeddingRequest]
    ) -> list[list[EmbeddingRequest]]:
        """The bulk requests of an account by job: the leading job, then the others by age."""
        jobs: dict[object, list[EmbeddingRequest]] = {}
        for request in requests:
            jobs.setdefault(request.job or id(request), []).append(request)
        groups = list(jobs.values())
        if (self._bulk_led[account] + 1) % OLDEST_LEADS:
            smallest = min(groups, key=lambda group: sum(len(r.sizes) for r in group))
            groups.remove(smallest)
            groups.insert(0, smallest)
        return groups

    def _rooms(
        self, groups: Sequence[Sequence[EmbeddingRequest]], leader: EmbeddingRequest
    ) -> dict[str, float]:
        """Token limit of each account in a microbatch: none gets a whole microbatch ahead."""
        turns = self._turns(leader.priority)
        rooms = {
            request.account: self.budget_tokens - turns.ahead(request.account)
            for group in groups
            for request in group
        }
        rooms[leader.account] = max(rooms[leader.account], self._batch_cost(groups[0]))
        return rooms

    def _batch_cost(self, group: Sequence[EmbeddingRequest]) -> int:
        """Padded tokens of the next microbatch of these requests, if no others join."""
        longest = max(request.sizes[-1] for request in group)
        windows = min(sum(len(r.sizes) for r in group), max(1, self.budget_tokens // longest))
        return windows * longest

    def _take(
        self,
        groups: Iterable[Sequence[EmbeddingRequest]],
        room: int,
        longest: int,
        room_of: dict[str, float],
    ) -> list[ScheduledWindow]:
        """Remove up to `room` windows of at most `longest` tokens, the longest of a group first."""
        picks: list[ScheduledWindow] = []
        for group in groups:
            if len(picks) >= room:
                break
            account = group[0].account
            max_windows = min(room - len(picks), max(0, int(room_of[account] // longest)))
            ends = [bisect_right(request.sizes, longest) for request in group]
            starts = _longest(group, ends, max_windows)
            for request, start, end in zip(group, starts, ends, strict=True):
                picks += [ScheduledWindow(request, place) for place in request.waiting[start:end]]
                tokens = sum(request.sizes[start:end])
                self._tokens[request.priority][account] -= tokens
                request.tokens -= tokens
                room_of[account] -= (end - start) * longest
                del request.sizes[start:end], request.waiting[start:end]
        return picks

    def _charge(self, priority: Priority, picks: Sequence[ScheduledWindow], longest: int) -> None:
        """Charge the accounts of a microbatch: each window costs as much as the longest."""
        windows = Counter(pick.request.account for pick in picks)
        for account, count in windows.items():
            self._turns(priority).charge(account, count * longest)
            self._ran[priority][account] += count * longest

    def _forget(self, priority: Priority) -> None:
        """Drop the counters of accounts without queued requests in the class."""
        waiting = {request.account for request in self._queues[priority]}
        for counts in (self._tokens[priority], self._ran[priority]):
            for account in counts.keys() - waiting:
                del counts[account]
        if priority is Priority.BULK:
            for account in self._bulk_led.keys() - waiting:
                del self._bulk_led[account]

    def _count(self, served: list[EmbeddingRequest], padded_tokens: int) -> None:
        """Add the cost of a microbatch to the ageing counters of the classes that wait."""
        for priority, queue in self._queues.items():
            if queue is served or not queue:
                self._passed_by[priority] = 0
            else:
                self._passed_by[priority] += padded_tokens + self.pass_tokens


def _rounded(tokens: int, least: int) -> int:
    """Round up to 1, 2, 4, ... times `least`, so that requests of similar cost are ordered by age.

    >>> [_rounded(tokens, 64) for tokens in (3, 64, 65, 300)]
    [64, 64, 128, 512]
    """
    rounded = max(1, least)
    while rounded < tokens:
        rounded *= 2
    return rounded


def _longest(group: Sequence[EmbeddingRequest], ends: Sequence[int], room: int) -> list[int]:
    """For each request, the start of its share of the `room` longest windows before `ends`."""
    starts = list(ends)
    tops = [
        (-r.sizes[end - 1], i) for i, (r, end) in enumerate(zip(group, ends, strict=True)) if end
    ]
    heapify(tops)
    for _ in range(room):
        if not tops:
            break
        i = tops[0][1]
        starts[i] -= 1
        if starts[i]:
            heapreplace(tops, (-group[i].sizes[starts[i] - 1], i))
        else:
            heappop(tops)
    return starts
