"""Which waiting windows run together, and in what order.

A batch is of the highest class that waits, and of no other: a short fast batch stays short. One
request leads it and gives its longest windows; others of the class fill up with windows that are no
longer, so that a batch is nearly rectangular.

Accounts take turns by the tokens that ran for them (`workers.microbatching.fair_order`): of those
that wait, none is more than one batch ahead of another, however many requests it has and however
long they are. `fast` goes before the `standard` requests of others in every second batch, in the
others they take turns too: any caller may say `fast`. Each window is charged with its padding.

Within an account a request waits as long as its tokens: one of n tokens goes before those that come
when n more tokens have run. So a short one does not wait for a long one, nor a long one for ever.
Of bulk the job with the fewest windows leads, and every fourth time the one that has waited
longest: a small batch must not wait for the parts of a large one. The requests of such a job, its
parts, give windows together: among those of four parts more are of one length than among one's.

Pure but for the futures it asks whether they were cancelled: no thread, no clock. The thread and
the ending of futures are `workers.microbatching.microbatcher`'s.
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

from shared.types import Priority
from workers.microbatching.fair_order import FairOrder
from workers.models.port import Rows
from workers.work_context import WorkContext

SPECIAL_TOKENS = 2
"""Counted on top of every window: nearly all models put one token before and one behind."""
PASS_COST_DIVISOR = 16
"""A forward pass costs about budget/16 tokens whatever is in it (1.3 ms against 35 ms measured for
MiniLM on 2 cores at 1,024). A batch takes on that much padding rather than leave windows to a
second pass."""
AGEING_BATCHES = 16
"""A lower class gets one batch after this many full ones have passed it by: about 6 % of the time
under constant load from above, so bulk creeps on and fast loses little."""

SMALL_DIVISOR = 4
"""Requests of up to a quarter of a budget wait for each other in order, and fill batches together:
the smallest in front of them would lead batches too short for the others to fill."""

OLDEST_LEADS = 4
"""Of so many batches of bulk one is led by the oldest job, the others by the smallest."""


@dataclass(eq=False, slots=True, kw_only=True)
class EmbeddingRequest:
    """One submit: its distinct windows, those still waiting (by size), and the rows so far.

    A window is what the model takes: content ids of a text, or an image.
    """

    windows: list[Any]  # U distinct windows
    places: list[int]  # for each window given, its place among the distinct
    sizes: list[int]  # of the waiting windows, ascending
    waiting: list[int]  # their places, in the order of `sizes`
    rows: Rows  # (U, D)
    missing: int
    priority: Priority
    deadline: float | None
    account: str  # whose turn it takes
    job: str  # whose requests of bulk belong together; empty for one by itself
    finish: Callable[[Rows], Rows] | None
    tokens: int  # of the waiting windows
    future: Future[Rows] = field(default_factory=Future)
    ended: bool = False
    turn: float = 0.0  # among those of its account; a plan sets it

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
            job=context.job,
            finish=finish,
            tokens=sum(sizes),
        )

    def over(self) -> bool:
        """Whether nobody waits for the rows any more."""
        return self.ended or self.future.cancelled()

    def result(self) -> Rows:
        """What the future gets, once no row is missing."""
        repeated = len(self.places) > len(self.windows)
        rows = self.rows[self.places] if repeated else self.rows  # (n, D)
        return rows if self.finish is None else self.finish(rows)


def _key(window: Sequence[int]) -> Any:
    """What equal windows have in common: bytes of an array, 4 for each id; a tuple takes 36."""
    return window.tobytes() if isinstance(window, array) else tuple(window)


class ScheduledWindow(NamedTuple):
    """One window of a batch, and where its row goes."""

    request: EmbeddingRequest
    place: int

    @property
    def window(self) -> Any:
        """What the model takes."""
        return self.request.windows[self.place]


class MicrobatchScheduler:
    """The waiting requests, and which of their windows run next. Not thread-safe, no clock."""

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._queues: dict[Priority, list[EmbeddingRequest]] = {
            priority: [] for priority in Priority
        }
        self._tokens: dict[Priority, Counter[str]] = {priority: Counter() for priority in Priority}
        self._call_turns = FairOrder()  # `fast` and `standard`: any caller may say `fast`
        self._bulk_turns = FairOrder()
        self._jumped = False  # whether the last batch was `fast` before an account's turn
        self._ran: dict[Priority, Counter[str]] = {priority: Counter() for priority in Priority}
        self._bulk_led: Counter[str] = Counter()  # batches of bulk where an account had a choice
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

    def add(self, request: EmbeddingRequest) -> None:
        """Let a request wait for its turn."""
        if request.sizes:
            cost = _rounded(request.tokens, self.budget_tokens // SMALL_DIVISOR)
            request.turn = self._ran[request.priority][request.account] + cost
            self._queues[request.priority].append(request)
            self._tokens[request.priority][request.account] += request.tokens

    def tokens(self, priority: Priority = Priority.BULK) -> int:
        """Tokens that wait in the class and in those above it."""
        return sum(count.total() for of, count in self._tokens.items() if of <= priority)

    def tokens_of(self, priority: Priority = Priority.BULK) -> Counter[str]:
        """The same by account, of those that have any."""
        return sum((c for of, c in self._tokens.items() if of <= priority), Counter[str]())

    def waiting(self) -> bool:
        """Whether any window waits."""
        return any(self._queues.values())

    def clear(self) -> None:
        """Forget everything."""
        for priority, queue in self._queues.items():
            queue.clear()
            self._forget(priority)

    def drop(self, now: float) -> list[EmbeddingRequest]:
        """Take out the requests that were cancelled, ended or are past their deadline."""
        dropped: list[EmbeddingRequest] = []
        for priority, queue in self._queues.items():
            gone = {r for r in queue if r.over() or (r.deadline is not None and r.deadline <= now)}
            if gone:
                queue[:] = [request for request in queue if request not in gone]
                for request in gone:
                    self._tokens[priority][request.account] -= request.tokens
                self._forget(priority)
                dropped += gone
        return dropped

    def cut(self) -> list[ScheduledWindow]:
        """Take out the next batch: padded within the budget, or one window alone."""
        fast, standard, bulk = ({r.account for r in queue} for queue in self._queues.values())
        self._call_turns.advance(fast | standard)
        self._bulk_turns.advance(bulk)
        priority = self._next_class()
        if priority is None:
            return []
        queue = self._queues[priority]
        shelves = self._shelves(priority)
        leader = shelves[0][0]
        room_of = self._rooms(shelves, leader)
        longest = max(request.sizes[-1] for request in shelves[0])
        picks = self._take(shelves, max(1, self.budget_tokens // longest), longest, room_of)
        padding = self.pass_tokens
        while longer := min(
            (r.sizes[0] for r in queue if r.sizes and r.sizes[0] <= room_of[r.account]), default=0
        ):
            # With room left, all that waits is longer: is lifting the batch cheaper than a pass?
            padding -= len(picks) * (longer - longest)
            room = self.budget_tokens // longer - len(picks)
            if padding < 0 or room <= 0 or longer <= longest:
                break
            longest = longer
            picks += self._take(shelves, room, longest, room_of)
        queue[:] = [request for request in queue if request.sizes]
        self._charge(priority, picks, longest)
        self._forget(priority)
        self._count(queue, len(picks) * longest)
        return picks

    def _next_class(self) -> Priority | None:
        """The highest class that waits, or a lower one that was passed by long enough.

        After a `fast` batch that went before an account's turn it is the class of that account.
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

    def _shelves(self, priority: Priority) -> list[list[EmbeddingRequest]]:
        """The requests that give windows together, by accounts in turn; the first leads."""
        in_turn = self._in_turn(priority)
        first = in_turn[0][1]
        if priority is Priority.BULK and len(first) > 1:
            self._bulk_led[first[0][0].account] += 1
        return [shelf for _, shelves in in_turn for shelf in shelves]

    def _in_turn(self, priority: Priority) -> list[tuple[float, list[list[EmbeddingRequest]]]]:
        """Where the next batch of each account would end in virtual time, and its shelves."""
        by_account: dict[str, list[EmbeddingRequest]] = {}
        for request in self._queues[priority]:
            by_account.setdefault(request.account, []).append(request)
        turns = self._turns(priority)
        ordered: list[tuple[float, list[list[EmbeddingRequest]]]] = []
        for account, requests in by_account.items():
            if priority is Priority.BULK:
                shelves = self._jobs(account, requests)
            else:
                shelves = [[request] for request in sorted(requests, key=lambda r: r.turn)]
            cost = self._batch_cost(shelves[0])
            cost = min(_rounded(cost, self.pass_tokens), max(cost, self.budget_tokens))
            ordered.append((turns.place(account) + cost, shelves))
        return sorted(ordered, key=lambda each: each[0])

    def _jobs(
        self, account: str, requests: Sequence[EmbeddingRequest]
    ) -> list[list[EmbeddingRequest]]:
        """An account's requests of bulk by job: the one that leads, and then the others by age."""
        jobs: dict[object, list[EmbeddingRequest]] = {}
        for request in requests:
            jobs.setdefault(request.job or id(request), []).append(request)
        shelves = list(jobs.values())
        if (self._bulk_led[account] + 1) % OLDEST_LEADS:
            smallest = min(shelves, key=lambda shelf: sum(len(r.sizes) for r in shelf))
            shelves.remove(smallest)
            shelves.insert(0, smallest)
        return shelves

    def _rooms(
        self, shelves: Sequence[Sequence[EmbeddingRequest]], leader: EmbeddingRequest
    ) -> dict[str, float]:
        """Tokens that each account may have of a batch: none gets a whole batch ahead by it."""
        turns = self._turns(leader.priority)
        rooms = {
            request.account: self.budget_tokens - turns.ahead(request.account)
            for shelf in shelves
            for request in shelf
        }
        rooms[leader.account] = max(rooms[leader.account], self._batch_cost(shelves[0]))
        return rooms

    def _batch_cost(self, shelf: Sequence[EmbeddingRequest]) -> int:
        """Padded tokens of the next batch of some requests, if nothing else joined."""
        longest = max(request.sizes[-1] for request in shelf)
        windows = min(sum(len(r.sizes) for r in shelf), max(1, self.budget_tokens // longest))
        return windows * longest

    def _take(
        self,
        shelves: Iterable[Sequence[EmbeddingRequest]],
        room: int,
        longest: int,
        room_of: dict[str, float],
    ) -> list[ScheduledWindow]:
        """Up to `room` windows of at most `longest`: of each shelf in turn the longest."""
        picks: list[ScheduledWindow] = []
        for shelf in shelves:
            if len(picks) >= room:
                break
            account = shelf[0].account
            most = min(room - len(picks), max(0, int(room_of[account] // longest)))
            ends = [bisect_right(request.sizes, longest) for request in shelf]
            starts = _longest(shelf, ends, most)
            for request, start, end in zip(shelf, starts, ends, strict=True):
                picks += [ScheduledWindow(request, place) for place in request.waiting[start:end]]
                taken = sum(request.sizes[start:end])
                self._tokens[request.priority][account] -= taken
                request.tokens -= taken
                room_of[account] -= (end - start) * longest
                del request.sizes[start:end], request.waiting[start:end]
        return picks

    def _charge(self, priority: Priority, picks: Sequence[ScheduledWindow], longest: int) -> None:
        """Count a batch for those that it is run for: each window costs what the longest does."""
        windows = Counter(pick.request.account for pick in picks)
        for account, count in windows.items():
            self._turns(priority).charge(account, count * longest)
            self._ran[priority][account] += count * longest

    def _forget(self, priority: Priority) -> None:
        """Forget accounts of which nothing waits in the class."""
        waiting = {request.account for request in self._queues[priority]}
        for counts in (self._tokens[priority], self._ran[priority]):
            for account in counts.keys() - waiting:
                del counts[account]
        if priority is Priority.BULK:
            for account in self._bulk_led.keys() - waiting:
                del self._bulk_led[account]

    def _count(self, served: list[EmbeddingRequest], padded_tokens: int) -> None:
        """Remember for each class how much ran ahead of it."""
        for priority, queue in self._queues.items():
            if queue is served or not queue:
                self._passed_by[priority] = 0
            else:
                self._passed_by[priority] += padded_tokens + self.pass_tokens


def _rounded(tokens: int, least: int) -> int:
    """Rounded up to 1, 2, 4, ... times the least: what costs about as much goes by age.

    >>> [_rounded(tokens, 64) for tokens in (3, 64, 65, 300)]
    [64, 64, 128, 512]
    """
    rounded = max(1, least)
    while rounded < tokens:
        rounded *= 2
    return rounded


def _longest(shelf: Sequence[EmbeddingRequest], ends: Sequence[int], room: int) -> list[int]:
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
