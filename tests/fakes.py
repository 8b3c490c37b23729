"""In-memory ports, and a worker that classifies by hashing: the API's tests run on these.

Small, and true to `shared.ports`; one switch each to be away.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from shared import ids, layout
from shared.errors import (
    BrokerUnavailable,
    LeaseLost,
    ObjectMissing,
    PigeonholeError,
    PreconditionFailed,
    StoreUnavailable,
    TooBusy,
    WorkFailed,
)
from shared.jobs import Fail, Finalise, Job, Settle, Start, State, Succeed, advance
from shared.messages import CONTROL, Call, Reply, Submission, decode, encode, failure_of
from shared.ports import FINALISE, Claim, Reaped, StoredObject, Taken
from shared.types import Answer, ClassifyRequest, ClassifyResult, Usage, WorkerReport

PER_ATTENDANT = 16


class FakeStore:
    """`ObjectStore` in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.away = False
        self._lock = threading.Lock()
        self._writes = 0

    def probe(self) -> None:
        self._check()

    def get(self, name: str) -> StoredObject:
        self._check()
        try:
            return self.objects[name]
        except KeyError:
            raise ObjectMissing(f"no object {name}") from None

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.get(name).data)

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        self._check()
        data = data if isinstance(data, bytes) else data.read()
        with self._lock:
            found = self.objects.get(name)
            if (if_absent and found) or (if_match and (not found or found.etag != if_match)):
                raise PreconditionFailed(f"{name} was written by another")
            self._writes += 1
            self.objects[name] = StoredObject(data=data, etag=str(self._writes))
            return str(self._writes)

    def delete(self, name: str) -> None:
        self._check()
        self.objects.pop(name, None)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        self._check()
        yield from (n for n in sorted(self.objects) if n.startswith(prefix) and n > after)

    def children(self, prefix: str, *, after: str = "") -> Iterator[str]:
        segments = {n.removeprefix(prefix).partition("/")[0] for n in self.list(prefix)}
        yield from (s for s in sorted(segments) if s > after)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the object store is away")


class FakeReplies:
    """`Replies` in a dict."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        with self._changed:
            self._answers.update(answers)
            self._changed.notify_all()

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: reply_to in self._answers, timeout_s)
            return self._answers.pop(reply_to, None)


class FakeDoorbell:
    """`Doorbell` that calls whoever answers it, in the thread of the ringer."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        self._answer = answer

    def ring(self, queue: str) -> None:
        self._answer(queue)


class FakeLedger:
    """`Ledger` behind one lock. A job's account, queue and record come from its first record."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = False
        self._clock = clock
        self._changed = threading.Condition()
        self._inline: dict[str, deque[bytes]] = defaultdict(deque)
        self._ready: dict[str, dict[str, dict[str, deque[str]]]] = defaultdict(dict)
        self._attending: dict[str, set[str]] = defaultdict(set)
        self._rung: dict[str, float] = {}
        self._work: dict[str, _Work] = {}
        self._records: dict[str, tuple[Job, float]] = {}
        self._members: dict[str, dict[str, tuple[bytes, float]]] = defaultdict(dict)
        self._epoch: str | None = None

    def offer(self, queue: str, message: bytes, *, bound: int) -> bool:
        with self._open():
            if len(self._inline[queue]) >= bound:
                raise TooBusy(f"{bound} calls wait in {queue} already", retry_after_s=1)
            self._inline[queue].append(message)
            return self._summon(queue)

    def enrol(self, job: Job, *, parts: int) -> bool:
        with self._open():
            if self._known(job.id):
                return False
            self._records[job.id] = (job, float("inf"))
            self._work[job.id] = _Work(job, parts)
            for part in range(parts):
                self._make_ready(job.id, f"part:{part}")
            return self._summon(job.queue)

    def claim(
        self,
        queue: str,
        worker: str | None,
        *,
        calls: int,
        parts: int,
        lease_s: float,
        leaving: bool = False,
    ) -> Taken:
        with self._open():
            if worker is not None:
                self._rung.pop(queue, None)
                self._attending[queue].add(worker)
            inline = self._inline[queue]
            messages = tuple(inline.popleft() for _ in range(min(calls, len(inline))))
            claims = []
            while len(claims) < parts and self._ready[queue]:
                claims.append(self._lease(*self._next(queue), lease_s))
            taken = Taken(messages=messages, claims=tuple(claims))
            if leaving and not taken and worker is not None:
                self._attending[queue].discard(worker)
            return taken

    def linger(self, queue: str, *, timeout_s: float) -> bool:
        with self._open():
            return self._changed.wait_for(lambda: self._backlog(queue) > 0, timeout_s)

    def beat(self, claim: Claim, *, lease_s: float) -> bool:
        with self._open():
            work = self._held(claim)
            work.leases[claim.task] = (claim.token, self._clock() + lease_s)
            return not work.abandoned

    def complete(
        self, claim: Claim, *, lease_s: float, outcome: bytes = b"", failure: bytes = b""
    ) -> Claim | None:
        with self._open():
            work = self._held(claim)
            del work.leases[claim.task]
            if failure:
                self._abandon(work, failure)
            else:
                work.outcomes[claim.task] = outcome
            ended = len(work.outcomes) == work.parts
            if work.abandoned:
                ended = not work.leases and not self._end_is_ready(work)
            return self._lease(claim.job_id, FINALISE, lease_s) if ended else None

    def release(self, claim: Claim, *, delay_s: float = 0.0, burn: bool = True) -> None:
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
                work.delayed[claim.task] = self._clock() + delay_s
            else:
                self._make_ready(claim.job_id, claim.task)

    def abandon(self, job_id: str) -> bool:
        with self._open():
            work = self._work.get(job_id)
            if work is None:
                return False
            self._abandon(work, b"")
            return self._end_abandoned(work) and self._summon(CONTROL)

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

    def retire(self, job: Job, *, keep_s: float) -> None:
        with self._open():
            if work := self._work.pop(job.id, None):
                for queue in (work.job.queue, CONTROL):
                    self._unready(queue, work)
            self._records[job.id] = (job, self._clock() + keep_s)

    def await_terminal(self, job_id: str, *, timeout_s: float) -> bool:
        def ended() -> bool:
            job = self._known(job_id)
            return job is not None and job.state.terminal

        with self._open():
            return self._changed.wait_for(ended, timeout_s)

    def reap(self, *, attempts: int, limit: int = 1000) -> Reaped:
        with self._open():
            expired = [
                (work, task)
                for work in list(self._work.values())
                for task, (_, until) in list(work.leases.items())
                if until <= self._clock()
            ][:limit]
            for work, task in expired:
                del work.leases[task]
                self._revive(work, task, attempts)
            for work in self._work.values():
                for task in [t for t, due in work.delayed.items() if due <= self._clock()]:
                    del work.delayed[task]
                    self._make_ready(work.job.id, task)
            queues = sorted({*self._inline, *self._ready})
            ring = tuple(q for q in queues if self._backlog(q) and self._summon(q))
            return Reaped(expired=len(expired), ring=ring)

    def epoch(self, token: str) -> str:
        with self._open():
            self._epoch = self._epoch or token
            return self._epoch

    def report(self, role: str, member: str, detail: bytes, *, ttl_s: float) -> None:
        with self._open():
            self._members[role][member] = (detail, self._clock() + ttl_s)

    def reports(self, role: str) -> dict[str, bytes]:
        with self._open():
            now = self._clock()
            return {m: d for m, (d, until) in self._members[role].items() if until > now}

    def waiting(self, queue: str) -> int:
        with self._open():
            return self._backlog(queue)

    def _open(self) -> threading.Condition:
        if self.away:
            raise BrokerUnavailable("Redis is away", retry_after_s=2)
        return self._changed

    def _known(self, job_id: str) -> Job | None:
        job, until = self._records.get(job_id, (None, 0.0))
        return job if until > self._clock() else None

    def _backlog(self, queue: str) -> int:
        jobs = sum(len(jobs) for jobs in self._ready[queue].values())
        return len(self._inline[queue]) + jobs

    def _summon(self, queue: str) -> bool:
        self._changed.notify_all()
        attendants = len(self._attending[queue])
        if attendants and self._backlog(queue) <= attendants * PER_ATTENDANT:
            return False
        if self._rung.get(queue, 0.0) > self._clock():
            return False
        self._rung[queue] = self._clock() + 0.5
        return True

    def _make_ready(self, job_id: str, task: str) -> None:
        job = self._work[job_id].job
        queue = CONTROL if task == FINALISE else job.queue
        self._ready[queue].setdefault(job.account, {}).setdefault(job_id, deque()).append(task)
        self._changed.notify_all()

    def _next(self, queue: str) -> tuple[str, str]:
        """A ready task; its account and its job go to the end of their rings."""
        accounts = self._ready[queue]
        account = next(iter(accounts))
        jobs = accounts.pop(account)
        job_id = next(iter(jobs))
        tasks = jobs.pop(job_id)
        task = tasks.popleft()
        if tasks:
            jobs[job_id] = tasks
        if jobs:
            accounts[account] = jobs
        return job_id, task

    def _unready(self, queue: str, work: _Work) -> None:
        jobs = self._ready[queue].get(work.job.account, {})
        jobs.pop(work.job.id, None)
        if not jobs:
            self._ready[queue].pop(work.job.account, None)

    def _lease(self, job_id: str, task: str, lease_s: float) -> Claim:
        work = self._work[job_id]
        work.attempts[task] += 1
        token = ids.token()
        work.leases[task] = (token, self._clock() + lease_s)
        return Claim(
            job_id=job_id,
            account=work.job.account,
            task=task,
            attempt=work.attempts[task],
            token=token,
            failure=work.failure,
        )

    def _held(self, claim: Claim) -> _Work:
        work = self._work.get(claim.job_id)
        if work is None or work.leases.get(claim.task, ("", 0))[0] != claim.token:
            raise LeaseLost(f"{claim.task} of {claim.job_id} is held by another worker now")
        return work

    def _abandon(self, work: _Work, failure: bytes) -> None:
        work.abandoned = True
        work.failure = work.failure or failure
        self._unready(work.job.queue, work)
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
        if task == FINALISE:
            work.delayed[task] = self._clock() + (60 if spent else 0)
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
        self.parts = parts
        self.abandoned = False
        self.failure = b""
        self.attempts: dict[str, int] = defaultdict(int)
        self.leases: dict[str, tuple[str, float]] = {}
        self.delayed: dict[str, float] = {}
        self.outcomes: dict[str, bytes] = {}


class TinyWorker:
    """Answers a doorbell: inline calls and jobs of one part, classified by hashing.

    `asleep` makes it do nothing; `error` makes it refuse everything.
    """

    def __init__(self, ledger: FakeLedger, replies: FakeReplies, store: FakeStore) -> None:
        self._ledger, self._replies, self._store = ledger, replies, store
        self.asleep = False
        self.error: Exception | None = None
        self.calls: list[Call] = []
        report = WorkerReport(device="cpu", queues=("cpu.standard",), models=("tiny",))
        ledger.report("worker", "tiny", encode(report), ttl_s=3600)
        ledger.report("keeper", "tiny", b"{}", ttl_s=3600)

    def drain(self, queue: str) -> None:
        while not self.asleep:
            taken = self._ledger.claim(queue, "tiny", calls=8, parts=1, lease_s=10, leaving=True)
            for message in taken.messages:
                self._answer(decode(Call, message))
            for claim in taken.claims:
                self._run(claim)
            if not taken:
                return

    def _answer(self, call: Call) -> None:
        self.calls.append(call)
        try:
            reply = Reply(result=self._classified(call.body))
        except PigeonholeError as exc:
            reply = Reply(failure=failure_of(exc))
        self._replies.send([(call.reply_to, encode(reply))], keep_s=60)

    def _run(self, claim: Claim) -> None:
        job = self._ledger.record(claim.job_id)
        assert job is not None
        now = datetime.now(UTC)
        if claim.task == FINALISE:
            self._end(job, advance(job, Settle(), now))
            return
        data = self._store.get(layout.request(job.account, job.id)).data
        running = advance(advance(job, Start(), now), Finalise(), now)
        try:
            result = self._classified(decode(Submission, data).body)
        except PigeonholeError as exc:
            self._end(job, advance(running, Fail(error=failure_of(exc)), now))
            return
        self._store.put(layout.result(job.account, job.id), encode(result))
        progress = job.progress.model_copy(update={"completed": job.progress.total})
        self._end(job, advance(running, Succeed(progress=progress, usage=result.usage), now))

    def _end(self, old: Job, new: Job) -> None:
        assert new.state in State
        self._store.put(layout.job(new.account, new.id), encode(new))
        self._ledger.replace(old, new)
        self._ledger.retire(new, keep_s=3600)
        self._store.delete(layout.open_marker(new.id))

    def _classified(self, request: ClassifyRequest) -> ClassifyResult:
        if self.error is not None:
            raise self.error
        answers = tuple(
            tuple(_answered(request, item.text, q.labels) for q in request.questions)
            for item in request.items
        )
        texts = sum(len(item.text.split()) for item in request.items)
        labels = sum(len(question.labels) for question in request.questions)
        return ClassifyResult(answers=answers, usage=Usage(input_tokens=texts, label_tokens=labels))


def _answered(request: ClassifyRequest, text: str, labels: tuple[str, ...]) -> Answer:
    """Scores that depend on nothing but text and label; thresholds and top_k are applied."""
    weights = [_hash(text, label) for label in labels]
    scores = [weight / sum(weights) for weight in weights]
    ranked = sorted(range(len(labels)), key=lambda i: -scores[i])[: request.top_k]
    kept = {
        i
        for i in ranked
        if request.threshold is None or scores[i] >= (request.threshold.of(labels[i]) or 0)
    }
    return Answer(
        best=next((i for i in ranked if i in kept), None),
        scores=tuple(s if i in kept else None for i, s in enumerate(scores)),
    )


def _hash(text: str, label: str) -> float:
    digest = hashlib.blake2b(f"{text}\0{label}".encode(), digest_size=4).digest()
    return 1.0 + int.from_bytes(digest, "big") / 2**32
