"""The state machine of a job: its states and the events that change them.

    queued → running → finalising → succeeded | failed
       └────────┴→ cancelling → cancelled
       └────────┴→ expiring → expired

`advance` is pure; its caller stores the new record by compare-and-set (`Ledger.replace`).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from shared.errors import IllegalTransition
from shared.types import Failure, JobKind, Usage, Value


class State(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    FINALISING = "finalising"
    CANCELLING = "cancelling"
    EXPIRING = "expiring"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether no event can change the state any more."""
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Progress(Value):
    """Counts of a job's items. In every terminal state `total == completed + failed`; items that
    never began before a cancellation or expiry count as failed.
    """

    total: int
    completed: int = 0
    failed: int = 0


class Job(Value):
    """The record of one job; times are UTC.

    `deadline` is when the job must end, complete or not; `finalising_at` is when the assembly of
    its result began, whatever its state then. `key_id` is the API key that submitted the job; empty
    in records of versions without the field. `metered`: it stops when the balance of the account
    is used up. `rate_limited`: its end corrects the estimated tokens in the rates of the account.
    `classifier` is the id of the classifier that it uses or makes, if it is one. `model` is that
    under which its usage counts; empty in records of versions without the field. `traceparent` is
    the trace that its tasks continue (`shared.tracing`).
    """

    id: str
    account: str
    key_id: str = ""
    kind: JobKind
    queue: str
    state: State = State.QUEUED
    attempt: int = 0
    created_at: datetime
    started_at: datetime | None = None
    cancelling_at: datetime | None = None
    finalising_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    expires_at: datetime
    progress: Progress
    usage: Usage = Usage()
    error: Failure | None = None
    # Excluded if empty: a record of a version without the fields stays equal to its own bytes.
    metered: bool = Field(default=False, exclude_if=lambda metered: not metered)
    rate_limited: bool = Field(default=False, exclude_if=lambda limited: not limited)
    classifier: str = Field(default="", exclude_if=lambda classifier: not classifier)
    model: str = Field(default="", exclude_if=lambda model: not model)
    metadata: dict[str, str] = Field(default_factory=dict, exclude_if=lambda metadata: not metadata)
    traceparent: str | None = Field(default=None, exclude_if=lambda parent: parent is None)


class Start(Value):
    """A worker claimed a part of the job; `attempt` counts the claims of that part."""

    attempt: int = 1


class Finalise(Value):
    """Every part has ended; the result is being assembled."""

    attempt: int = 1


class Succeed(Value):
    """The result is on the object store."""

    progress: Progress
    usage: Usage


class Fail(Value):
    """The job cannot succeed; `progress` counts the results that were stored, if any."""

    error: Failure
    progress: Progress | None = None
    usage: Usage | None = None


class Cancel(Value):
    """The owner cancels the job."""


class Lapse(Value):
    """The deadline has passed."""


class Settle(Value):
    """No task of a cancelled job runs any more; `progress` counts the stored results."""

    progress: Progress | None = None
    usage: Usage | None = None


class Expire(Value):
    """The time of the job is over; `progress` counts the stored results."""

    progress: Progress | None = None
    usage: Usage | None = None


Event = Start | Finalise | Succeed | Fail | Cancel | Lapse | Settle | Expire

TRANSITIONS: dict[tuple[State, type[Value]], State] = {
    (State.QUEUED, Start): State.RUNNING,
    (State.QUEUED, Finalise): State.FINALISING,
    (State.QUEUED, Fail): State.FAILED,
    (State.QUEUED, Cancel): State.CANCELLING,
    (State.QUEUED, Lapse): State.EXPIRING,
    (State.QUEUED, Expire): State.EXPIRED,
    (State.RUNNING, Start): State.RUNNING,
    (State.RUNNING, Finalise): State.FINALISING,
    (State.RUNNING, Fail): State.FAILED,
    (State.RUNNING, Cancel): State.CANCELLING,
    (State.RUNNING, Lapse): State.EXPIRING,
    (State.RUNNING, Expire): State.EXPIRED,
    (State.FINALISING, Finalise): State.FINALISING,
    (State.FINALISING, Succeed): State.SUCCEEDED,
    (State.FINALISING, Fail): State.FAILED,
    (State.FINALISING, Expire): State.EXPIRED,
    (State.CANCELLING, Cancel): State.CANCELLING,
    (State.CANCELLING, Settle): State.CANCELLED,
    (State.CANCELLING, Succeed): State.SUCCEEDED,
    (State.EXPIRING, Succeed): State.SUCCEEDED,
    (State.EXPIRING, Fail): State.FAILED,
    (State.EXPIRING, Expire): State.EXPIRED,
}


def advance(job: Job, event: Event, now: datetime) -> Job:
    """The job after the event.

    Raises:
        IllegalTransition: The state does not allow the event, or the event belongs to an
            attempt older than the recorded one. This stops redelivered work.
    """
    target = TRANSITIONS.get((job.state, type(event)))
    if target is None:
        raise IllegalTransition(f"a job that is {job.state} cannot {type(event).__name__.lower()}")
    changes: dict[str, object] = {"state": target}
    match event:
        case Start(attempt=attempt):
            if attempt < job.attempt:
                raise IllegalTransition(f"attempt {attempt} is older than attempt {job.attempt}")
            changes |= {"attempt": attempt, "started_at": job.started_at or now}
        case Succeed(progress=progress, usage=usage):
            changes |= {"progress": progress, "usage": usage}
        case Fail(error=error):
            changes |= {"error": error}
        case Finalise() | Lapse():
            changes["finalising_at"] = job.finalising_at or now
        case Cancel():
            changes["cancelling_at"] = job.cancelling_at or now
        case Settle() | Expire():
            pass
    if target.terminal:
        changes["finished_at"] = now
        if isinstance(event, Fail | Settle | Expire):
            progress = event.progress or job.progress
            failed = progress.total - progress.completed
            changes["progress"] = progress.model_copy(update={"failed": failed})
            changes["usage"] = event.usage or job.usage
    return job.model_copy(update=changes)
