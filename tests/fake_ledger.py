"""The ledger in memory, for tests: it passes the contract's own."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence

from shared import ids
from shared.errors import (
    BrokerUnavailable,
    LeaseLost,
    TooBusy,
    WorkFailed,
)
from shared.jobs import Job
from shared.messages import CONTROL, encode, failure_of
from shared.ports import FINALISE, PLAN, Claim, ClaimedWork, FinishedPart, ReapReport
from shared.work_rate import WorkDone, WorkSample, moving_rate

PER_ATTENDANT = 16
SMALL_BYTES = 4096
CLAIM_BYTES = 131_072
PAUSE_S = 60.0
_Ring = OrderedDict[str, OrderedDict[str, deque[str]]]  # account → job → its ready tasks


def _calls_of(queue: str) -> str:
    return f"{queue}#calls"


class FakeLedger:
    """`Ledger` behind one lock. A job's account, queue and record come from its first record."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, max_account_parts: int = 64
    ) -> None:
        self.away = False
        self._account_parts = max_account_parts
        self._turns: dict[str, dict[str, float]] = defaultdict(dict)
        self._clocks: dict[str, float] = defaultdict(float)
        self._clock, self._passed_s = clock, 0.0
        self._changed = threading.Condition()
        self._calls: dict[str, dict[str, list[tuple[float, int, bytes]]]] = defaultdict(dict)
        self._numbers = itertools.count()
        self._ready: dict[str, _Ring] = defaultdict(OrderedDict)
        self._attending: dict[str, set[str]] = defaultdict(set)
        self._rung: dict[str, float] = {}
        self._work: dict[str, _Work] = {}
        self._records: dict[str, tuple[Job, float]] = {}
        self._members: dict[str, dict[str, tuple[bytes, float]]] = defaultdict(dict)
        self._epoch: str | None = None

    def let_pass(self, seconds: float) -> None:
        """Move the ledger's clock on."""
        self._passed_s += seconds

    def enqueue_call(self, queue: str, message: bytes, *, bound: int, account: str = "") -> bool:
        with self._open():
            accounts, turns = self._calls[queue], self._turns[_calls_of(queue)]
            waiting = accounts.get(account, [])
            if len(waiting) >= max(1, bound // len({*accounts, account})):
                raise TooBusy(f"the queue {queue} is full: it holds {bound} calls", retry_after_s=1)
            place = max(turns.get(account, 0.0), self._clocks[_calls_of(queue)])
            size = -(-len(message) // SMALL_BYTES) * SMALL_BYTES
            heapq.heappush(waiting, (place + size, next(self._numbers), message))
            if account not in accounts:
                accounts[account] = waiting
                turns[account] = place
            return self._summon(queue)

    def create_job(self, job: Job, *, parts: int) -> str | None:
        with self._open():
            if self._known(job.id):
                return None
            self._records[job.id] = (job, float("inf"))
            work = self._work[job.id] = _Work(job, parts)
            for part in range(parts):
                self._make_ready(job.id, f"part:{part}")
            self._replan(work)
            queue = job.queue if parts else CONTROL
            return queue if self._summon(queue) else None

    def add_parts(
        self,
        claim: Claim,
        *,
        first: int,
        parts: int,
        last: bool,
        low: int,
        cost: int,
        finished: Mapping[int, FinishedPart] | None = None,
    ) -> bool:
        with self._open():
            work = self._held(claim)
            if work.abandoned:
                return False
            done = {n: f for n, f in (finished or {}).items() if n >= work.parts}
            for number, part in done.items():
                work.outcomes[f"part:{number}"] = part.outcome
                work.completed += part.completed
                work.failed += part.failed
            for number in range(max(first, work.parts), first + parts):
                if number not in done:
                    self._make_ready(claim.job_id, f"part:{number}")
            work.parts = max(work.parts, first + parts)
            work.planned, work.low, work.cost = last, low, cost
            work.patient = True
            return self._summon(work.queue)

    def claim(
        self,
        queue: str,
        worker: str | None,
        *,
        calls: int,
        parts: int,
        lease_s: float,
        leaving: bool = False,
        pass_over: Collection[str] = (),
        short_only: Collection[str] = (),
    ) -> ClaimedWork:
        with self._open():
            if worker is not None:
                self._rung.pop(queue, None)
                self._attending[queue].add(worker)
            messages: list[bytes] = []
            while len(messages) < calls and sum(map(len, messages)) < CLAIM_BYTES:
                if (message := self._next_call(queue, pass_over, short_only)) is None:
                    break
                messages.append(message)
            claims = []
            while len(claims) < parts and (task := self._next(queue, {*pass_over, *short_only})):
                claims.append(self._lease(*task, lease_s))
            taken = ClaimedWork(messages=tuple(messages), claims=tuple(claims))
            if leaving and not taken and worker is not None:
                self._attending[queue].discard(worker)
            return taken

    def wait_for_work(self, queue: str, *, timeout_s: float) -> bool:
        with self._open():
            return self._changed.wait_for(lambda: self._backlog(queue) > 0, timeout_s)

    def heartbeat(self, claim: Claim, *, lease_s: float) -> bool:
        with self._open():
            work = self._held(claim)
            work.leases[claim.task] = (claim.token, self._time() + lease_s)
            return not work.abandoned

    def save_checkpoint(self, claim: Claim, note: bytes) -> None:
        with self._open():
            self._held(claim).notes[claim.task] = note

    def complete(
        self,
        claim: Claim,
        *,
        lease_s: float,
        outcome: bytes = b"",
        failure: bytes = b"",
        completed: int = 0,
        failed: int = 0,
    ) -> Claim | str | None:
        with self._open():
            work = self._held(claim)
            del work.leases[claim.task]
            work.notes.pop(claim.task, None)
            if failure:
                self._abandon(work, failure)
            elif claim.task == PLAN:
                work.planning = False
                work.attempts.pop(PLAN, None)
            elif claim.task not in work.outcomes:
                work.outcomes[claim.task] = outcome
                work.completed += completed
                work.failed += failed
                if work.samples:
                    sample = WorkSample(at_s=self._time(), items=completed + failed)
                    work.samples.append(sample)
            ended = work.planned and not work.planning and len(work.outcomes) == work.parts
            if work.abandoned:
                ended = not work.leases and not self._end_is_ready(work)
            if ended:
                return self._lease(claim.job_id, FINALISE, lease_s)
            replanned = not work.abandoned and self._replan(work)
            return CONTROL if replanned and self._summon(CONTROL) else None

    def requeue(self, claim: Claim, *, delay_s: float = 0.0, burn: bool = True) -> None:
        with self._open():
            try:
                work = self._held(claim)
            except LeaseLost:
                return
            del work.leases[claim.task]
            work.attempts[claim.task] -= not burn
            if claim.task != FINALISE and work.abandoned:
                self._end_abandoned(work)
            elif delay_s > 0:
                work.delayed[claim.task] = self._time() + delay_s
            else:
                self._make_ready(claim.job_id, claim.task)

    def abort_job(self, job_id: str) -> bool:
        with self._open():
            work = self._work.get(job_id)
            if work is None:
                return False
            self._abandon(work, b"")
            return self._end_abandoned(work) and self._summon(CONTROL)

    def progress(self, job_id: str) -> WorkDone | None:
        with self._open():
            if (work := self._work.get(job_id)) is None:
                return None
            rate = moving_rate(work.samples, self._time())
            return WorkDone(completed=work.completed, failed=work.failed, rate_per_s=rate)

    def outcomes(self, job_id: str) -> dict[str, bytes]:
        with self._open():
            return dict(self._work[job_id].outcomes) if job_id in self._work else {}

    def record(self, job_id: str) -> Job | None:
        return self.records([job_id])[0]

    def records(self, job_ids: Sequence[str]) -> list[Job | None]:
        with self._open():
            return [self._known(job_id) for job_id in job_ids]

    def replace(self, old: Job, new: Job) -> bool:
        with self._open():
            if self._known(old.id) != old:
                return False
            self._records[old.id] = (new, self._records[old.id][1])
            return True

    def finish_job(self, job: Job, *, keep_s: float) -> None:
        with self._open():
            if work := self._work.pop(job.id, None):
                for queue in (work.queue, CONTROL):
                    self._unready(queue, work)
            self._records[job.id] = (job, self._time() + keep_s)
            self._changed.notify_all()

    def await_terminal(self, job_id: str, *, timeout_s: float) -> bool:
        def ended() -> bool:
            job = self._known(job_id)
            return job is not None and job.state.terminal

        with self._open():
            return self._changed.wait_for(ended, timeout_s)

    def reclaim_expired(self, *, attempts: int, limit: int = 1000) -> ReapReport:
        with self._open():
            expired = [
                (work, task)
                for work in list(self._work.values())
                for task, (_, until) in list(work.leases.items())
                if until <= self._time()
            ][:limit]
            for work, task in expired:
                del work.leases[task]
                self._revive(work, task, attempts)
            for work in self._work.values():
                for task in [t for t, due in work.delayed.items() if due <= self._time()]:
                    del work.delayed[task]
                    self._make_ready(work.job.id, task)
            queues = sorted({*self._calls, *self._ready})
            ring = tuple(q for q in queues if self._backlog(q) and self._summon(q))
            return ReapReport(expired=len(expired), ring=ring)

    def now(self) -> float:
        with self._open():
            return time.time()

    def epoch(self, token: str) -> str:
        with self._open():
            self._epoch = self._epoch or token
            return self._epoch

    def report(self, role: str, member: str, detail: bytes, *, ttl_s: float) -> None:
        with self._open():
            self._members[role][member] = (detail, self._time() + ttl_s)

    def reports(self, role: str) -> dict[str, bytes]:
        with self._open():
            now = self._time()
            return {m: d for m, (d, until) in self._members[role].items() if until > now}

    def waiting(self, queue: str) -> int:
        with self._open():
            return self._backlog(queue)

    def queues(self) -> tuple[str, ...]:
        with self._open():
            return tuple(q for q in sorted({*self._calls, *self._ready}) if self._backlog(q))

    def move_queue(self, queue: str, to: str, *, limit: int = 1000) -> None:
        with self._open():
            for account, calls in self._calls[queue].items():
                merged = [*self._calls[to].get(account, []), *calls]
                heapq.heapify(merged)
                self._calls[to][account] = merged
                self._turns[_calls_of(to)].setdefault(account, self._clocks[_calls_of(to)])
            self._calls[queue].clear()
            waiting = [job for jobs in self._ready[queue].values() for job in jobs][:limit]
            for job_id in waiting:
                work = self._work[job_id]
                tasks = self._ready[queue][work.job.account][job_id]
                self._unready(queue, work)
                work.queue = to
                for task in tasks:
                    self._make_ready(job_id, task)

    def _open(self) -> threading.Condition:
        if self.away:
            raise BrokerUnavailable("Redis is unavailable", retry_after_s=2)
        return self._changed

    def _time(self) -> float:
        return self._clock() + self._passed_s

    def _known(self, job_id: str) -> Job | None:
        job, until = self._records.get(job_id, (None, 0.0))
        return job if until > self._time() else None

    def _backlog(self, queue: str) -> int:
        jobs = sum(len(jobs) for jobs in self._ready[queue].values())
        return sum(map(len, self._calls[queue].values())) + jobs

    def _summon(self, queue: str) -> bool:
        self._changed.notify_all()
        attendants = len(self._attending[queue])
        if attendants and self._backlog(queue) <= attendants * PER_ATTENDANT:
            return False
        if self._rung.get(queue, 0.0) > self._time():
            return False
        self._rung[queue] = self._time() + 0.5
        return True

    def _make_ready(self, job_id: str, task: str) -> None:
        """Queue a task; one that was begun before goes first."""
        work = self._work[job_id]
        queue, account = self._queue(work, task), work.job.account
        accounts = self._ready[queue]
        if account not in accounts:
            last = self._turns[queue].get(account, 0.0)
            self._turns[queue][account] = max(last, self._clocks[queue])
        jobs = accounts.setdefault(account, OrderedDict())
        tasks = jobs.setdefault(job_id, deque())
        tasks.append(task)
        if task in work.attempts:
            tasks.rotate()
            jobs.move_to_end(job_id, last=False)
            accounts.move_to_end(account, last=False)
            self._turns[queue][account] = self._clocks[queue]
        self._changed.notify_all()

    def _next_call(
        self, queue: str, pass_over: Collection[str], short_only: Collection[str]
    ) -> bytes | None:
        """The next message of the account that is furthest behind."""
        lane = _calls_of(queue)
        accounts, turns = self._calls[queue], self._turns[lane]
        free = [
            account
            for account, calls in accounts.items()
            if account not in pass_over
            and (account not in short_only or len(calls[0][-1]) <= SMALL_BYTES)
        ]
        if not free:
            return None
        account = min(free, key=lambda a: turns[a])
        *_, message = heapq.heappop(accounts[account])
        if not accounts[account]:
            del accounts[account]
        self._clocks[lane] = turns[account]
        turns[account] += len(message)
        if not accounts:
            turns.clear()
            self._clocks[lane] = 0.0
        return message

    def _next(self, queue: str, pass_over: Collection[str]) -> tuple[str, str] | None:
        """A ready task of the account that is furthest behind; its job goes to the end."""
        accounts, turns = self._ready[queue], self._turns[queue]
        free = [
            a
            for a in accounts
            if a not in pass_over and self._flying(queue, a) < self._account_parts
        ]
        if not free:
            return None
        account = min(free, key=lambda a: turns[a])
        jobs = accounts.pop(account)
        job_id = next(iter(jobs))
        tasks = jobs.pop(job_id)
        task = tasks.popleft()
        if tasks:
            jobs[job_id] = tasks
        if jobs:
            accounts[account] = jobs
        self._clocks[queue] = turns[account]
        turns[account] += self._work[job_id].cost
        if not accounts:
            turns.clear()
            self._clocks[queue] = 0.0
        return job_id, task

    def _flying(self, queue: str, account: str) -> int:
        mine = (w for w in self._work.values() if w.job.account == account)
        return sum(task.startswith("part:") for w in mine if w.queue == queue for task in w.leases)

    def _queue(self, work: _Work, task: str) -> str:
        return work.queue if task.startswith("part:") else CONTROL

    def _replan(self, work: _Work) -> bool:
        left = work.parts - len(work.outcomes)
        if work.planned or work.planning or left > work.low:
            return False
        work.planning = True
        self._make_ready(work.job.id, PLAN)
        return True

    def _unready(self, queue: str, work: _Work, task: str | None = None) -> None:
        jobs = self._ready[queue].get(work.job.account, OrderedDict())
        tasks = jobs.get(work.job.id, deque())
        if task in tasks:
            tasks.remove(task)
        if task is None or not tasks:
            jobs.pop(work.job.id, None)
        if not jobs:
            self._ready[queue].pop(work.job.account, None)

    def _lease(self, job_id: str, task: str, lease_s: float) -> Claim:
        work = self._work[job_id]
        if work.patient and task.startswith("part:"):
            paused = not work.samples or self._time() - work.samples[-1].at_s > PAUSE_S
            if paused and not any(each.startswith("part:") for each in work.leases):
                work.samples.append(WorkSample(at_s=self._time(), start=True))
        work.attempts[task] += 1
        token = ids.token()
        work.leases[task] = (token, self._time() + lease_s)
        return Claim(
            job_id=job_id,
            account=work.job.account,
            task=task,
            attempt=work.attempts[task],
            token=token,
            failure=work.failure,
            note=work.notes.get(task, b""),
        )

    def _held(self, claim: Claim) -> _Work:
        work = self._work.get(claim.job_id)
        if work is None or work.leases.get(claim.task, ("", 0))[0] != claim.token:
            raise LeaseLost(f"{claim.task} of {claim.job_id} is held by another worker now")
        return work

    def _abandon(self, work: _Work, failure: bytes) -> None:
        work.abandoned = True
        work.failure = work.failure or failure
        self._unready(work.queue, work)
        self._unready(CONTROL, work, PLAN)
        work.delayed = {t: due for t, due in work.delayed.items() if t == FINALISE}

    def _end_is_ready(self, work: _Work) -> bool:
        return work.job.id in self._ready[CONTROL].get(work.job.account, {})

    def _end_abandoned(self, work: _Work) -> bool:
        if not work.abandoned or work.leases or self._end_is_ready(work):
            return False
        self._make_ready(work.job.id, FINALISE)
        return True

    def _revive(self, work: _Work, task: str, attempts: int) -> None:
        spent = work.attempts[task] >= attempts
        if work.patient and task.startswith("part:"):
            spent = False
        if task == FINALISE:
            work.delayed[task] = self._time() + (60 if spent else 0)
        elif work.abandoned:
            self._end_abandoned(work)
        elif spent:
            reason = f"given up after {attempts} attempts: each ended its worker or fell silent"
            self._abandon(work, encode(failure_of(WorkFailed(reason))))
            self._end_abandoned(work)
        else:
            self._make_ready(work.job.id, task)


class _Work:
    """What is left to do of one job."""

    def __init__(self, job: Job, parts: int) -> None:
        self.job = job
        self.queue = job.queue
        self.parts = parts
        self.planned, self.planning, self.patient = parts > 0, False, False
        self.low, self.cost = 0, max(1, job.progress.total)
        self.completed = self.failed = 0
        self.abandoned = False
        self.failure = b""
        self.attempts: dict[str, int] = defaultdict(int)
        self.leases: dict[str, tuple[str, float]] = {}
        self.delayed: dict[str, float] = {}
        self.outcomes: dict[str, bytes] = {}
        self.notes: dict[str, bytes] = {}
        self.samples: list[WorkSample] = []
