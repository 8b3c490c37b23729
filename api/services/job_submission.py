"""The submission of requests: synchronous calls and durable jobs.

    run_sync:  limits → result cache; for items not cached: balance → rates → message on its queue
               → doorbell → wait for the reply
    enqueue:   limits → balance → rates → `shared.job_intake` → 202

A synchronous call stores nothing: if it is lost, its client repeats it. A job is kept until its
result expires.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from api.services import balances, model_warmup, quotas
from api.services.balances import Balances
from api.services.caller import Caller
from api.services.quotas import Quotas
from api.services.worker_registry import WorkerRegistry
from shared import ids, tracing
from shared.classify_cache import ClassifyCache
from shared.errors import DeadlineExceeded, PigeonholeError, Unavailable
from shared.job_intake import JobIntake, queue_of
from shared.job_kinds import Body
from shared.jobs import Job
from shared.limits import Limits
from shared.member_reports import PROBE_ACCOUNT
from shared.messages import Call, decode, encode, error_of, reply_of
from shared.model_catalogue import Catalogue, ModelEntry
from shared.ports import Replies
from shared.types import ClassifyRequest, ClassifyResult, Item, JobResult, Priority, Question

_LOAD_CALL_S = 10.0
"""Within which a worker must begin a call that only loads models; as long, no other one is sent."""
_LOAD_TEXTS = ("Where is my parcel?", "Где моя посылка?")  # `auto` has a model for each


@dataclass(frozen=True, kw_only=True)
class JobSubmission:
    """Turns checked requests into work. Only classify requests are checked against the limits
    here: the code that reads another kind knows the places of its items.
    """

    intake: JobIntake
    replies: Replies
    catalogue: Catalogue
    members: WorkerRegistry
    limits: Limits
    max_queued_calls: int
    cache: ClassifyCache
    quotas: Quotas
    balances: Balances
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _load_calls: dict[tuple[str, ...], float] = field(default_factory=dict)  # models -> when sent

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970, as jobs are dated."""
        return self.intake.clock

    def run_sync(
        self,
        request: Body,
        *,
        caller: Caller,
        request_id: str,
        timeout_s: float,
        priority: Priority = Priority.STANDARD,
    ) -> JobResult:
        """The result of a request, while the caller waits.

        Raises:
            PigeonholeError: What the limits or the tier refuse, or what the worker answered.
            TooBusy: The queue holds as many calls as it may.
            DeadlineExceeded: No answer within `timeout_s`.
            Unavailable: No worker offers the model, or Redis is away.
        """
        began = time.monotonic()
        request, model = self._checked(request)
        compute = partial(
            self._computed,
            model=model,
            caller=caller,
            request_id=request_id,
            timeout_s=timeout_s,
            priority=priority,
        )
        if not isinstance(request, ClassifyRequest):
            done = compute(request)
            self.balances.counter.count(caller, request, done)
            return done
        result = self._classified(request, caller=caller, compute=compute)
        self.balances.counter.count(caller, request, result)
        return result.model_copy(update={"latency_ms": (time.monotonic() - began) * 1000})

    def _classified(
        self, request: ClassifyRequest, *, caller: Caller, compute: Callable[[Body], JobResult]
    ) -> ClassifyResult:
        """The result of a classify request; items that the cache has are not computed."""
        revision = self.members.revision_of(request) if request.cache else None
        found = self.cache.look(request, account=caller.account, revision=revision)
        computed = None if found.rest is None else compute(found.rest)
        assert computed is None or isinstance(computed, ClassifyResult)
        return found.complete(computed)

    def _computed(
        self,
        request: Body,
        *,
        model: ModelEntry,
        caller: Caller,
        request_id: str,
        timeout_s: float,
        priority: Priority,
    ) -> JobResult:
        """The result of a worker."""
        until = time.monotonic() + timeout_s  # the clock may be set while the caller waits
        queue = queue_of(request, device=self.members.device_for(model), priority=priority)
        self.balances.check(caller, request)
        self._check_warm(request, queue, caller=caller, timeout_s=timeout_s)
        self.quotas.admit(request, caller=caller, waits=True)
        with self.replies.expected() as reply_to:
            call = Call(
                request_id=request_id,
                reply_to=reply_to,
                deadline=self.clock() + timeout_s,
                priority=priority,
                account=caller.account,
                traceparent=tracing.traceparent(),
                sent_at=self.clock() if tracing.on() else None,
                body=request,
            )
            if self.intake.ledger.enqueue_call(
                queue, encode(call), bound=self.max_queued_calls, account=caller.account
            ):
                self.intake.doorbell.ring(queue)
            answer = self.replies.wait(reply_to, timeout_s=until - time.monotonic())
        if answer is None:
            raise DeadlineExceeded(
                f"no answer within {timeout_s:g} s; send fewer inputs, or send "
                "'Prefer: respond-async' and poll the job"
            )
        reply = decode(reply_of(request.kind), answer)
        model_warmup.add(reply.warmup_ms)
        if reply.failure is not None:
            raise error_of(reply.failure)
        assert reply.result is not None
        quotas.set_used_tokens(reply.result.usage.total_tokens)
        return reply.result

    def _check_warm(self, request: Body, queue: str, *, caller: Caller, timeout_s: float) -> None:
        """Refuse a request that does not wait for the weights of its model, and have these loaded.

        Raises:
            Unavailable: No worker has the model in memory, and loading it takes longer than
                `timeout_s`; the request can be answered after `Retry-After`.
        """
        if not isinstance(request, ClassifyRequest):
            return
        if caller.account == PROBE_ACCOUNT:  # a worker answers it without the model
            return
        load_s = self.members.load_s(request.models)
        if load_s <= timeout_s:
            return
        if not any(self.members.state_of(name) == "loading" for name in request.models):
            self._load(request, queue, account=caller.account)
        raise Unavailable(
            f"the model {' with '.join(request.models)} is not in memory; a worker loads it, which "
            f"takes about {load_s:.1f} s: try again then, or wait longer (Prefer: wait)",
            retry_after_s=max(1, math.ceil(load_s)),
        )

    def _load(self, request: ClassifyRequest, queue: str, *, account: str) -> None:
        """Have a worker load the models of a request. That costs the account nothing, so nothing
        of the request itself is run.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._load_calls.get(request.models, -math.inf) < _LOAD_CALL_S:
                return
            self._load_calls[request.models] = now
        call = Call(
            request_id=ids.request_id(),
            reply_to=ids.token(),  # nothing reads it
            deadline=self.clock() + _LOAD_CALL_S,
            priority=Priority.STANDARD,
            account=account,
            body=ClassifyRequest(
                model=request.model,
                multilingual_model=request.multilingual_model,
                engine=request.engine,
                nli_model=request.nli_model,
                items=tuple(Item(text=text) for text in _LOAD_TEXTS),
                questions=(Question(labels=("yes", "no")),),
            ),
        )
        if self.intake.ledger.enqueue_call(
            queue, encode(call), bound=self.max_queued_calls, account=account
        ):
            self.intake.doorbell.ring(queue)

    def enqueue(
        self,
        request: Body,
        *,
        caller: Caller,
        request_id: str,
        dialect: str,
        priority: Priority = Priority.STANDARD,
        job_id: str | None = None,
        waited_for: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Job:
        """Accept a job. With the `job_id` of a job that was accepted before, it is that job again.

        One that is `waited_for` is not accepted where no worker lives that could run it.

        Raises:
            PigeonholeError: What the limits or the tier refuse.
            Unavailable: The object store did not take the request, or no worker offers the model
                of a job that is waited for; nothing was accepted.
        """
        request, model = self._checked(request)
        if waited_for:
            self.members.device_for(model)
        self.balances.check(caller, request)
        job_id = job_id or ids.job_id(int(self.clock() * 1000), ids.random_bits())
        rate_limited = self.quotas.admit(request, caller=caller, waits=waited_for, job_id=job_id)
        try:
            return self.intake.accept(
                request,
                account=caller.account,
                key_id=caller.key_id,
                metered=balances.is_metered(caller, request),
                rate_limited=rate_limited,
                queue=queue_of(request, device=self.members.usual_device(model), priority=priority),
                request_id=request_id,
                dialect=dialect,
                job_id=job_id,
                metadata=metadata,
            )
        except PigeonholeError:
            if rate_limited:
                self.quotas.job_not_accepted(job_id)
            raise

    def _checked(self, request: Body) -> tuple[Body, ModelEntry]:
        """The request within the limits, under its model's own name; and the model of its queue."""
        if isinstance(request, ClassifyRequest):
            request = self.limits.check(request)
        model = self.catalogue.find(request.model)
        if request.model != model.name:
            request = request.model_copy(update={"model": model.name})
        return request, self.catalogue.find(request.queue_model)
