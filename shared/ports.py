"""The five ports: contracts between the code and its servers. The docstrings are the contract.

Every adapter passes the same contract tests (`tests/contract/`). Every call has a timeout that is
set when the adapter is constructed; a call that exceeds it raises `StoreUnavailable` or
`BrokerUnavailable`. A sixth port is in `shared.result_cache`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from shared.jobs import Job
from shared.work_rate import WorkDone


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object's bytes with the ETag they had when read."""

    data: bytes
    etag: str


class ObjectStore(Protocol):
    """Named byte objects, changed only by conditional writes: the source of truth of the service.

    Names are `/`-separated, relative, without `.` or `..` segments (see `shared.object_keys`).
    A put is atomic: a reader sees the old bytes or the new, never a part; after it returns, the
    bytes survive the death of the writer and of the store's process.
    """

    def probe(self) -> None:
        """Prove that the store reads, writes and honours conditional writes.

        Raises:
            ConfigurationError: The store ignores `if_absent` or `if_match`; names what is missing.
            StoreUnavailable: The store cannot be reached.
        """

    def get(self, name: str) -> StoredObject:
        """Read a whole object.

        Raises:
            ObjectMissing: There is no such object.
        """

    def open(self, name: str, *, start: int = 0, end: int | None = None) -> BinaryIO:
        """Open an object for streaming reads; the caller closes it.

        Args:
            name: Object name.
            start: Offset of the first byte, from 0; within the object, unless it is 0.
            end: Offset after the last byte, as in a slice; None: the end of the object.

        Raises:
            ObjectMissing: There is no such object.
        """

    def put(
        self,
        name: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        media_type: str | None = None,
    ) -> str:
        """Write an object and return its new ETag. A stream is read to its end in bounded memory.

        Args:
            data: Bytes, or a readable binary stream of any length.
            if_absent: Write only if no object has the name.
            if_match: Write only if the object's current ETag is this.
            media_type: Content type, if the store keeps one; None: by name (`shared.media_types`).

        Raises:
            PreconditionFailed: The condition does not hold. Of several racing writers with
                the same condition exactly one succeeds.
        """

    def delete(self, name: str) -> None:
        """Delete an object; no error if there is none."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Names that start with `prefix` and sort after `after`, in byte order, lazily paged."""

    def children(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Distinct next path segments under `prefix` (which ends in `/`), in byte order, lazily.

        `children("jobs/a/")` yields `"x"` once, however many objects `jobs/a/x/…` there are.
        `after` is a segment: only segments sorting after it are yielded.
        """

    def now(self) -> float:
        """The time of the store's own clock, in seconds since 1970, accurate to about a second."""

    def presign_put(self, name: str, *, expires_s: int) -> str | None:
        """A presigned URL: it writes the object by an HTTP PUT, without an API key, for a time.

        None if the store has no such URLs. The URL does not bound the size of the object.
        """

    def presign_post(
        self, name: str, *, expires_s: int, max_bytes: int
    ) -> tuple[str, dict[str, str]] | None:
        """As `presign_put`: URL and fields of a form that takes 1 to `max_bytes` bytes by POST."""


@dataclass(frozen=True, kw_only=True)
class BucketObject:
    """Metadata of an object in a bucket outside of the service's own store."""

    url: str
    bytes: int
    etag: str


class Buckets(Protocol):
    """Objects of other buckets, by `s3://bucket/key`, in locations that the operator allows.

    A URL that ends in `/` names all objects below it. Nothing in a URL is decoded.

    Raises:
        InvalidRequest: From every method: the URL is not allowed, the object does not exist, or
            access is denied; names the field of the request, `input_url` for reads and
            `output_url` for writes.
        StoreUnavailable: From every method but `check`, if the server is unavailable.
    """

    def check(self, url: str, *, write: bool) -> None:
        """Refuse a URL outside of the allowed locations for reads or writes."""

    def find(self, url: str) -> BucketObject:
        """Get the metadata of one object."""

    def open(self, url: str, *, etag: str = "") -> BinaryIO:
        """Open an object for streaming reads; the caller closes it.

        Args:
            url: URL of the object.
            etag: If given, an object with another ETag has changed and is refused.
        """

    def list(self, url: str) -> Iterator[BucketObject]:
        """The objects below a URL that ends in `/`, in byte order, lazily."""

    def put(self, url: str, stream: BinaryIO, *, media_type: str | None = None) -> None:
        """Write or replace an object; the stream is read to its end in bounded memory.

        Args:
            url: URL of the object.
            stream: Bytes of the object.
            media_type: Content type of the object; derived from the extension of the key
                (`shared.media_types`) if None.
        """


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task of a durable job, leased to the caller until `lease_s` after the last heartbeat.

    `task` is ``part:<n>``, `PLAN` or `FINALISE`. `attempt` counts from 1, this claim included.
    `failure` is the error of a failed job, for the task that finalises it; `note` is the checkpoint
    of an earlier attempt of the task.
    """

    job_id: str
    account: str
    task: str
    attempt: int
    token: str
    failure: bytes = b""
    note: bytes = b""


FINALISE = "finalise"
PLAN = "plan"


@dataclass(frozen=True, kw_only=True)
class FinishedPart:
    """A part that needs no work any more: its report, and the counts of its items."""

    outcome: bytes
    completed: int
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class ClaimedWork:
    """The result of one claim: inline messages in order, and claims of durable tasks."""

    messages: tuple[bytes, ...] = ()
    claims: tuple[Claim, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.messages or self.claims)


class Doorbell(Protocol):
    """Signals that a queue has work. Lost or duplicate signals are harmless."""

    def ring(self, queue: str) -> None:
        """Send one `drain` message without payload.

        Raises:
            BrokerUnavailable: The broker did not accept it.
        """


class Ledger(Protocol):
    """Ready, leased, delayed and finished tasks, and hot job records. Rebuilt after a loss.

    Every method is one atomic round trip; times are the server's. A worker is a *consumer* of a
    queue while it claims from the queue or waits for work in it. Methods that make work ready wake
    a consumer, and return whether a doorbell must be rung because there are too few consumers.

    A job of unknown size is planned: its `PLAN` task cuts parts, some at a time, and becomes ready
    again when few of them are left (backpressure). A job ends in one of two ways. The `complete` of
    the last part elects its caller to finalise the job. Or the job is aborted (cancelled, failed,
    out of attempts): none of its tasks can be claimed any more, and `finalise` becomes ready once
    none is leased.

    Raises:
        BrokerUnavailable: From every method, if Redis does not respond in time.
    """

    def enqueue_call(self, queue: str, message: bytes, *, bound: int, account: str = "") -> bool:
        """Queue an inline message of an account; True: ring.

        Raises:
            TooBusy: The account has its share of the `bound` messages of the queue; accounts with
                waiting messages share it evenly.
        """

    def create_job(self, job: Job, *, parts: int) -> str | None:
        """Record a new job and make its parts ready, or its `PLAN` with 0 parts. Idempotent.

        Returns:
            The queue to ring, if one must be rung.
        """

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
        """Make parts of a planned job ready, from the holder of its `PLAN`. True: ring its queue.

        Args:
            claim: the `PLAN`; complete it afterwards.
            first: number of the first part; earlier parts do not change.
            parts: number of parts.
            last: whether these are the last parts.
            low: `PLAN` becomes ready again when so few parts are unfinished.
            cost: rows of one part, for fair queueing between accounts.
            finished: parts among these whose results exist already.

        Raises:
            LeaseLost: The lease of the `PLAN` has another token, or has expired.
        """

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
        """Claim up to `calls` inline messages and `parts` durable tasks.

        Accounts in `pass_over` are skipped; of accounts in `short_only`, only messages of up to
        4 KiB are claimed.

        Messages come from the account with the fewest recently claimed bytes; within an account, a
        short message precedes long ones that arrived shortly before it. Large messages make a claim
        smaller than `calls`. Durable tasks come from the account with the fewest recently claimed
        rows, then from its jobs in turn; an account with the maximum number of parts in flight is
        skipped. The call makes the `worker` a consumer of the queue, unless it is None; with
        `leaving`, an empty result ends that, atomically.
        """

    def wait_for_work(self, queue: str, *, timeout_s: float) -> bool:
        """Wait until there may be work (True), or `timeout_s` has passed (False).

        `timeout_s` must be less than the time for which a worker counts as a consumer.
        """

    def heartbeat(self, claim: Claim, *, lease_s: float) -> bool:
        """Extend the lease; False: the job was aborted, so stop and requeue.

        Raises:
            LeaseLost: The lease of the task has another token, or has expired.
        """

    def save_checkpoint(self, claim: Claim, note: bytes) -> None:
        """Save a checkpoint for the next attempt of the task, in case this one dies.

        Raises:
            LeaseLost: As for `heartbeat`.
        """

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
        """Count the part as done, once, with its outcome. With `failure`, abort the job.

        Args:
            claim: the part, or a `PLAN`, which has no outcome.
            lease_s: lease of the `FINALISE`.
            outcome: the report of the part.
            failure: the error of the job.
            completed, failed: number of items of the part that succeeded and failed.

        Returns:
            The lease of the job's `FINALISE` for the elected caller; or the queue to ring, if one
            must be rung; else None.

        Raises:
            LeaseLost: As for `heartbeat`; the part is not counted.
        """

    def requeue(self, claim: Claim, *, delay_s: float = 0.0, burn: bool = True) -> None:
        """Requeue a task, ready after `delay_s`; with `burn=False` the attempt does not count.
        Does nothing if the lease is lost.
        """

    def abort_job(self, job_id: str) -> bool:
        """Abort a job: none of its tasks can be claimed any more. True: ring `control`."""

    def progress(self, job_id: str) -> WorkDone | None:
        """Item counts of the finished parts, and the rate of a planned job; None if unknown."""

    def outcomes(self, job_id: str) -> dict[str, bytes]:
        """The reports of the finished parts, by task."""

    def record(self, job_id: str) -> Job | None:
        """The hot record of a job, or None if it is not known here."""

    def records(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The hot records of several jobs, in the order of `job_ids`."""

    def replace(self, old: Job, new: Job) -> bool:
        """Store `new` if the record still equals `old`; False if another process was faster."""

    def finish_job(self, job: Job, *, keep_s: float) -> None:
        """Keep a terminal record for `keep_s`, drop the job's other state, and wake its waiters."""

    def await_terminal(self, job_id: str, *, timeout_s: float) -> bool:
        """Wait until the job is finished (True) or `timeout_s` has passed (False)."""

    def reclaim_expired(self, *, attempts: int, limit: int = 1000) -> ReapReport:
        """Requeue tasks of expired leases, and due delayed tasks; abort jobs out of `attempts`."""

    def now(self) -> float:
        """The server's time, in seconds since 1970."""

    def epoch(self, token: str) -> str:
        """The first `token` since Redis was last empty; a new value means a loss of all state."""

    def report(self, role: str, member: str, detail: bytes, *, ttl_s: float) -> None:
        """Store the report of a live process for `ttl_s`; 0 removes it."""

    def reports(self, role: str) -> dict[str, bytes]:
        """The reports of the live processes of a role, by process."""

    def waiting(self, queue: str) -> int:
        """Number of inline messages and of jobs with ready tasks in the queue."""

    def queues(self) -> tuple[str, ...]:
        """Queues with waiting work, sorted; until the next reclaim also queues that had some."""

    def move_queue(self, queue: str, to: str, *, limit: int = 1000) -> None:
        """Move waiting work to the end of another queue: all inline messages, up to `limit` jobs.

        Leased tasks of these jobs, and tasks that become ready later, belong to the other queue.
        The job records do not change. The next `reclaim_expired` rings.
        """


@dataclass(frozen=True, kw_only=True)
class ReapReport:
    """The outcome of `reclaim_expired`: number of expired leases, and the queues to ring."""

    expired: int
    ring: tuple[str, ...]


class Replies(Protocol):
    """Replies to waiting synchronous calls, kept for a short time."""

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        """Deliver replies to their reply names, in one round trip."""

    def expected(self) -> AbstractContextManager[str]:
        """The reply name of a call, whose reply can be waited for within the block."""

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        """Wait for the reply and remove it; None if `timeout_s` has passed."""
