"""Readiness: an item passes through the real queue to a real model.

One check runs at a time, and its result is cached for a moment, so that many probes cost as much as
one. A check ends within `LIMIT_S`; components without a response by then are reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.services.caller import Caller
from api.services.job_submission import JobSubmission
from api.services.worker_registry import ModelState, WorkerRegistry
from shared import ids, service_clock
from shared.errors import ObjectMissing, PigeonholeError, Unavailable
from shared.member_reports import PROBE_ACCOUNT
from shared.ports import Ledger, ObjectStore
from shared.types import ClassifyRequest, Item, Priority, Question

LIMIT_S = 3.0
_FRESH_S = 2.0
_PROBE = Caller(account=PROBE_ACCOUNT, key_id="none")
_NOTHING = "readiness/none"  # an object that is never there: its absence is an answer
OK = "ok"
_NOT_KNOWN = "not known"


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ComponentStatus(BaseModel):
    """What the service stands on: `ok`, or the reason why not."""

    redis: str
    object_store: str
    keeper: str
    worker: str
    model: str


class ClockStatus(BaseModel):
    """How right the clocks of the machines are: `ok`, or how far the worst one is off.

    The service goes by the clock of Redis, so it is ready all the same. A keeper whose own clock is
    off deletes nothing.
    """

    api: str = OK
    keeper: str = OK
    worker: str = OK


class Readiness(BaseModel):
    """Whether the service can do its work, and what is missing."""

    ready: bool
    parts: ComponentStatus
    clocks: ClockStatus
    models: dict[str, ModelState] = Field(
        default_factory=dict,
        description="Models that are not in memory (`cold`) or are being loaded, for which the "
        "next request waits, and those that could not be loaded again (`failed`).",
    )


@dataclass(kw_only=True)
class ReadinessProbe:
    """Looks whether the service is ready."""

    submit: JobSubmission
    store: ObjectStore
    ledger: Ledger
    members: WorkerRegistry
    default_model: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: Readiness | None = None
    _looked_at: float = float("-inf")

    def look(self) -> Readiness:
        """How things stand, as of `_FRESH_S` ago at most."""
        if not self._lock.acquire(timeout=2 * LIMIT_S):
            return _readiness({})
        try:
            if self._last is None or time.monotonic() - self._looked_at > _FRESH_S:
                self._last = self._look()
                self._looked_at = time.monotonic()
            return self._last
        finally:
            self._lock.release()

    def _look(self) -> Readiness:
        """Ask all parts at once; a part that hangs keeps its thread until its own deadline."""
        pool = ThreadPoolExecutor(
            max_workers=len(ComponentStatus.model_fields) + 2, thread_name_prefix="ready"
        )
        fields = {
            "redis": pool.submit(_said, lambda: self.ledger.waiting("control")),
            "object_store": pool.submit(_said, self._ask_store),
            "keeper": pool.submit(_said, self._ask_keeper),
            "worker": pool.submit(_said, self._ask_worker),
            "model": pool.submit(_said, self._ask_model),
        }
        clocks, models = pool.submit(self._clocks), pool.submit(self._absent_models)
        pool.shutdown(wait=False)
        futures: list[Future[Any]] = [*fields.values(), clocks, models]
        wait(futures, timeout=LIMIT_S)
        return _readiness(
            fields,
            clocks.result() if clocks.done() else None,
            models.result() if models.done() else {},
        )

    def _absent_models(self) -> dict[str, ModelState]:
        try:
            held = {name for worker in self.members.workers() for name in worker.models}
            states = {name: self.members.state_of(name) for name in sorted(held)}
        except Unavailable:
            return {}
        return {name: state for name, state in states.items() if state not in (None, "loaded")}

    def _clocks(self) -> ClockStatus:
        own = _clock([service_clock.CLOCK.offset_s()])
        try:
            keepers = [each.clock_offset_s for each in self.members.keepers()]
            workers = [each.clock_offset_s for each in self.members.workers()]
        except Unavailable:
            return ClockStatus(api=own, keeper=_NOT_KNOWN, worker=_NOT_KNOWN)
        return ClockStatus(api=own, keeper=_clock(keepers), worker=_clock(workers))

    def _ask_store(self) -> None:
        try:
            self.store.get(_NOTHING)
        except ObjectMissing:
            return

    def _ask_keeper(self) -> None:
        if not self.members.keepers():
            raise Unavailable("no keeper is running")

    def _ask_worker(self) -> None:
        if not self.members.workers():
            raise Unavailable("no worker is running")

    def _ask_model(self) -> None:
        """A worker that does not have the model in memory answers without it: that is no fault."""
        request = ClassifyRequest(
            model=self.default_model,
            items=(Item(text="Is a worker there?"),),
            questions=(Question(labels=("yes", "no")),),
        )
        self.submit.run_sync(
            request,
            caller=_PROBE,
            request_id=ids.request_id(),
            timeout_s=LIMIT_S - 0.5,
            priority=Priority.FAST,
        )


def _said(ask: Callable[[], object]) -> str:
    try:
        ask()
    except PigeonholeError as exc:
        return exc.detail
    return OK


def _clock(offsets_s: Sequence[float]) -> str:
    """What is said of the clocks of some processes."""
    worst_s = max(offsets_s, key=abs, default=0.0)
    return OK if abs(worst_s) <= service_clock.MAX_OFFSET_S else service_clock.describe(worst_s)


def _readiness(
    checks: dict[str, Future[str]],
    clocks: ClockStatus | None = None,
    models: dict[str, ModelState] | None = None,
) -> Readiness:
    late = f"no response within {LIMIT_S:g} s"
    parts = {
        part: answer.result() if (answer := checks.get(part)) and answer.done() else late
        for part in ComponentStatus.model_fields
    }
    return Readiness(
        ready=set(parts.values()) == {OK},
        parts=ComponentStatus(**parts),
        clocks=clocks or ClockStatus(api=_NOT_KNOWN, keeper=_NOT_KNOWN, worker=_NOT_KNOWN),
        models=models or {},
    )
