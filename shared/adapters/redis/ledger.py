"""The ledger on one Redis server: each method is one Lua script, so one atomic round trip.

The scripts lie in `lua/`; `lua/prelude.lua` names the keys. Not for a Redis Cluster: a script
touches keys of several slots.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import Any, Literal, get_args

import redis

from shared import ids
from shared.adapters.redis.client import broker_errors
from shared.errors import LeaseLost, TooBusy, WorkFailed
from shared.jobs import Job
from shared.messages import CONTROL, decode, encode, failure_of
from shared.ports import FINALISE, Claim, ClaimedWork, FinishedPart, ReapReport
from shared.work_rate import WorkDone, WorkSample, moving_rate

# The files in `lua/`, but for the prelude: the type checker refuses a name without a file.
Script = Literal[
    "abort_job",
    "add_parts",
    "claim",
    "complete",
    "create_job",
    "enqueue_call",
    "finish_job",
    "heartbeat",
    "move_queue",
    "progress",
    "reclaim_expired",
    "replace",
    "requeue",
    "save_checkpoint",
    "waiting",
]

_SLICE_S = 1.0  # longest single blocking wait: a frozen server is noticed within the timeout


class RedisLedger:
    """`shared.ports.Ledger` on Redis ≥ 7 or Valkey."""

    def __init__(
        self, client: redis.Redis, *, prefix: str = "ph3:", max_account_parts: int = 64
    ) -> None:
        self._client: Any = client  # redis-py types every answer as str or bytes or awaitable
        self._prefix = prefix
        self._account_parts = max_account_parts
        folder = resources.files("shared.adapters.redis").joinpath("lua")
        prelude = folder.joinpath("prelude.lua").read_text("utf-8")
        self._scripts = {
            name: client.register_script(
                f"{prelude}\n{folder.joinpath(f'{name}.lua').read_text('utf-8')}"
            )
            for name in get_args(Script)
        }

    def enqueue_call(self, queue: str, message: bytes, *, bound: int, account: str = "") -> bool:
        ring = self._run("enqueue_call", queue, message, account, bound)
        if ring < 0:
            raise TooBusy(
                f"the queue {queue} is full: it holds {bound} calls, or your account's share of "
                "them while other accounts wait too; try again shortly, or send 'Prefer: "
                "respond-async'",
                retry_after_s=1,
            )
        return bool(ring)

    def create_job(self, job: Job, *, parts: int) -> str | None:
        cost = max(1, job.progress.total)
        queue = self._run("create_job", job.id, encode(job), job.account, job.queue, parts, cost)
        return queue.decode() if queue else None

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
        done = [
            field
            for part, f in (finished or {}).items()
            for field in (part, f.outcome, f.completed, f.failed)
        ]
        ring = self._run(
            "add_parts", claim.job_id, claim.token, first, parts, int(last), low, cost, *done
        )
        if ring < 0:
            raise _lost(claim)
        return bool(ring)

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
        messages, claims = self._run(
            "claim",
            queue,
            worker or "",
            calls,
            parts,
            _ms(lease_s),
            ids.token(),
            int(leaving),
            self._account_parts,
            len(pass_over),
            *pass_over,
            *short_only,
        )
        return ClaimedWork(messages=tuple(messages), claims=tuple(map(_claim, claims)))

    def wait_for_work(self, queue: str, *, timeout_s: float) -> bool:
        with broker_errors():
            token = self._client.blpop([self._key("wake", queue)], timeout=min(timeout_s, _SLICE_S))
        return token is not None

    def heartbeat(self, claim: Claim, *, lease_s: float) -> bool:
        held = self._run("heartbeat", claim.job_id, claim.task, claim.token, _ms(lease_s))
        if held < 0:
            raise _lost(claim)
        return bool(held)

    def save_checkpoint(self, claim: Claim, note: bytes) -> None:
        if not self._run("save_checkpoint", claim.job_id, claim.task, claim.token, note):
            raise _lost(claim)

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
        status, answer = self._run(
            "complete",
            claim.job_id,
            claim.task,
            claim.token,
            _ms(lease_s),
            outcome,
            failure,
            ids.token(),
            completed,
            failed,
        )
        if status < 0:
            raise _lost(claim)
        if status:
            return _claim(answer)
        return CONTROL if answer else None

    def requeue(self, claim: Claim, *, delay_s: float = 0.0, burn: bool = True) -> None:
        self._run("requeue", claim.job_id, claim.task, claim.token, _ms(delay_s), int(burn))

    def abort_job(self, job_id: str) -> bool:
        return bool(self._run("abort_job", job_id))

    def progress(self, job_id: str) -> WorkDone | None:
        found = self._run("progress", job_id)
        if not found:
            return None
        completed, failed, now_ms, samples = found
        rate = moving_rate([_sample(each) for each in samples], now_ms / 1000)
        return WorkDone(completed=completed, failed=failed, rate_per_s=rate)

    def outcomes(self, job_id: str) -> dict[str, bytes]:
        with broker_errors():
            found = self._client.hgetall(self._key("outcomes", job_id))
        return {task.decode(): outcome for task, outcome in found.items()}

    def record(self, job_id: str) -> Job | None:
        return self.records([job_id])[0]

    def records(self, job_ids: Sequence[str]) -> list[Job | None]:
        with broker_errors(), self._client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(self._key("job", job_id), "record")
            found = pipe.execute()
        return [decode(Job, data) if data else None for data in found]

    def replace(self, old: Job, new: Job) -> bool:
        return bool(self._run("replace", old.id, encode(old), encode(new)))

    def finish_job(self, job: Job, *, keep_s: float) -> None:
        self._run("finish_job", job.id, encode(job), _ms(keep_s))

    def await_terminal(self, job_id: str, *, timeout_s: float) -> bool:
        ended = self._key("ended", job_id)
        until = time.monotonic() + timeout_s
        while True:
            record = self.record(job_id)
            if record is not None and record.state.terminal:
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            with broker_errors():
                # The token goes back to where it came from, for the next waiter.
                self._client.blmove(ended, ended, min(left, _SLICE_S))

    def reclaim_expired(self, *, attempts: int, limit: int = 1000) -> ReapReport:
        failure = encode(
            failure_of(
                WorkFailed(
                    f"given up after {attempts} attempts: in each one the worker died or stopped "
                    "responding"
                )
            )
        )
        expired, ring = self._run("reclaim_expired", attempts, limit, failure)
        return ReapReport(expired=expired, ring=tuple(queue.decode() for queue in ring))

    def now(self) -> float:
        with broker_errors():
            seconds, micros = self._client.time()
        return float(seconds + micros / 1e6)

    def epoch(self, token: str) -> str:
        with broker_errors():
            known = self._client.set(self._key("epoch"), token, nx=True, get=True)
        return known.decode() if isinstance(known, bytes) else token

    def report(self, role: str, member: str, detail: bytes, *, ttl_s: float) -> None:
        name = self._key("member", role, member)
        with broker_errors(), self._client.pipeline() as pipe:
            if ttl_s > 0:
                pipe.sadd(self._key("members", role), member)
                pipe.set(name, detail, px=_ms(ttl_s))
            else:
                pipe.srem(self._key("members", role), member)
                pipe.delete(name)
            pipe.execute()

    def reports(self, role: str) -> dict[str, bytes]:
        with broker_errors():
            members = sorted(m.decode() for m in self._client.smembers(self._key("members", role)))
            found = self._client.mget([self._key("member", role, m) for m in members] or ["-"])
            gone = [m for m, detail in zip(members, found, strict=False) if detail is None]
            if gone:
                self._client.srem(self._key("members", role), *gone)
        return {m: detail for m, detail in zip(members, found, strict=False) if detail is not None}

    def waiting(self, queue: str) -> int:
        return int(self._run("waiting", queue))

    def queues(self) -> tuple[str, ...]:
        with broker_errors():
            return tuple(
                sorted(queue.decode() for queue in self._client.smembers(self._key("queues")))
            )

    def move_queue(self, queue: str, to: str, *, limit: int = 1000) -> None:
        self._run("move_queue", queue, to, limit)

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _run(self, script: Script, *args: Any) -> Any:
        with broker_errors():
            return self._scripts[script](keys=[self._prefix], args=args)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _claim(answer: list[Any]) -> Claim:
    job_id, account, task, attempt, token, failure, note = answer
    return Claim(
        job_id=job_id.decode(),
        account=account.decode(),
        task=task.decode(),
        attempt=int(attempt),
        token=token.decode(),
        failure=failure,
        note=note,
    )


def _sample(text: bytes) -> WorkSample:
    _, ended_ms, items = text.split()
    if items == b"start":
        return WorkSample(at_s=int(ended_ms) / 1000, start=True)
    return WorkSample(at_s=int(ended_ms) / 1000, items=int(items))


def _lost(claim: Claim) -> LeaseLost:
    what = "the end" if claim.task == FINALISE else claim.task
    return LeaseLost(f"another worker holds the lease of {what} of {claim.job_id}")
