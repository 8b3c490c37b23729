"""The five contracts between the code and the servers it runs on; the docstrings are the contract.

Every implementation passes the same test class (`tests/contract/`). Every call has a deadline set
when the adapter is made; past it the call raises `StoreUnavailable` or `BrokerUnavailable`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
    """Named, immutable-unless-conditional byte objects: the truth of the service.

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
            start: The first byte to read, from 0; one that the object has, unless it is 0.
            end: Where to stop, as in a slice; None: at the end of the object.

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
            name: Object name.
            data: Bytes, or a readable binary stream of any length.
            if_absent: Write only if no object has the name.
            if_match: Write only if the object's current ETag is this.
            media_type: What a server says of the object beside its bytes, where the store can
                keep that; by the name (`shared.media_types`) if None.

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
        """The time by the store's own clock, in seconds since 1970, right to a second or so."""

    def presign_put(self, name: str, *, expires_s: int) -> str | None:
        """A URL that writes the object by an HTTP PUT, without a key of ours, for so long.

        None where the store has no such URLs. The length is not bounded by it.
        """


@dataclass(frozen=True, kw_only=True)
class BucketObject:
    """An object outside our own store, as it was when it was looked at."""

    url: str
    bytes: int
    etag: str


class Buckets(Protocol):
    """Objects outside our own store, by `s3://bucket/key`, below the places the operator allowed.

    A URL that ends in `/` names all objects below it. Nothing in a URL is decoded.

    Raises:
        InvalidRequest: From every method: the address is not allowed, nothing is there, or the
            server does not let us; names the request's field, `input_url` where it is read from,
            `output_url` where it is written to.
        StoreUnavailable: From every method but `check`, when the server is away.
    """

    def check(self, url: str, *, write: bool) -> None:
        """Refuse an address that may not be read from, or written to."""

    def find(self, url: str) -> BucketObject:
        """Look at one object."""

    def open(self, url: str, *, etag: str = "") -> BinaryIO:
        """Open an object for streaming reads; the caller closes it.

        Args:
            url: Its address.
            etag: With another one it was changed, and is refused.
        """

    def list(self, url: str) -> Iterator[BucketObject]:
        """The objects below an address that ends in `/`, in byte order, lazily."""

    def put(self, url: str, stream: BinaryIO, *, media_type: str | None = None) -> None:
        """Write or replace an object; the stream is read to its end in bounded memory.

        Args:
            url: Its address.
            stream: Its bytes.
            media_type: What the server says of it beside its bytes; by the end of the key
                (`shared.media_types`) if None.
        """


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A task of a durable job, leased to the caller until `lease_s` after the last beat.

    `task` is ``part:<n>``, `PLAN` or `FINALISE`. `attempt` counts from 1 and was counted before the
    claim was handed out. `failure` is what the job failed of, for the task that finalises it;
    `note` what an earlier attempt of the task left.
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
    """A part that needs no work any more: what it said, and how many of its items came out."""

    outcome: bytes
    completed: int
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class ClaimedWork:
    """What one claim brought: inline messages in order of their turn, and durable claims."""

    messages: tuple[bytes, ...] = ()
    claims: tuple[Claim, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.messages or self.claims)


class Doorbell(Protocol):
    """Says «there is work» on a queue. Lost or doubled rings are harmless."""

    def ring(self, queue: str) -> None:
        """Send one `drain` message without payload.

        Raises:
            BrokerUnavailable: The broker did not take it.
        """


class Ledger(Protocol):
    """What is ready, leased, delayed and done; hot job records. Fast, and rebuilt if it is lost.

    Every method is one atomic round trip; times are the server's. A queue is *attended* while a
    worker claims from it or lingers at it. Methods that make work ready wake an attending worker
    and say whether a doorbell must be rung because nobody attends, or too few do.

    A job of unknown size is planned: its `PLAN` task makes parts, some at a time, and comes back by
    itself when few of them are left.

    A job ends like this: the last part's `complete` elects its caller to finalise it; or the job
    is abandoned (cancelled, failed, out of attempts), nothing of it is handed out any more, and
    `finalise` becomes ready once nothing of it is leased.

    Raises:
        BrokerUnavailable: From every method, when Redis does not answer in time.
    """

    def enqueue_call(self, queue: str, message: bytes, *, bound: int, account: str = "") -> bool:
        """Let an inline message of an account wait in the queue; True: ring.

        Raises:
            TooBusy: As many messages of the account wait there as may: the accounts that have any
                share `bound` evenly.
        """

    def create_job(self, job: Job, *, parts: int) -> str | None:
        """Record a new job and make its parts ready, or with 0 its `PLAN`; nothing if it is known.

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
            first: number of the first part; those that were made before stay as they are.
            parts: how many.
            last: whether there are no more.
            low: with so few parts unfinished `PLAN` becomes ready again.
            cost: rows of one part: what an account is charged for it.
            finished: of these parts, those whose results are there already.

        Raises:
            LeaseLost: Another token holds the `PLAN`, or nobody does.
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
        """Take up to `calls` inline messages and `parts` durable tasks.

        Nothing is taken of accounts to `pass_over`, and nothing but short messages, up to 4 KiB, of
        others.

        Messages are taken from the account that had the fewest bytes of late, and of its own a
        short one before long ones that came a little earlier; fewer than `calls` where they are
        large. Durable tasks are taken from the account that had the fewest rows of late, then from
        its jobs in turn; an account with as many parts under way as it may have is passed over. The
        `worker` attends the queue by this, unless it is None; with `leaving`, an empty answer
        ends its attendance, atomically.
        """

    def wait_for_work(self, queue: str, *, timeout_s: float) -> bool:
        """Wait until there may be work (True) or the time is over; below the attendance's life."""

    def heartbeat(self, claim: Claim, *, lease_s: float) -> bool:
        """Extend the lease; False: the job was abandoned, stop and release.

        Raises:
            LeaseLost: Another token holds the task, or nobody does.
        """

    def save_checkpoint(self, claim: Claim, note: bytes) -> None:
        """Leave something for the next attempt of the task, should this one end silently.

        Raises:
            LeaseLost: As for `beat`.
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
        """Count the part as done, once, with its outcome. With `failure`, abandon the job.

        Args:
            claim: the part, or a `PLAN`, which has no outcome.
            lease_s: of the `FINALISE`.
            outcome: what the part says.
            failure: what the job failed of.
            completed, failed: how many items of the part did and did not come out.

        Returns:
            The lease of the job's `FINALISE` for the elected caller; or the queue to ring, if one
            must be rung; else None.

        Raises:
            LeaseLost: As for `beat`; the part is not counted.
        """

    def requeue(self, claim: Claim, *, delay_s: float = 0.0, burn: bool = True) -> None:
        """Give a task back, ready after `delay_s`; `burn=False` uncounts the attempt.

        Does nothing if the lease is lost.
        """

    def abort_job(self, job_id: str) -> bool:
        """Hand nothing of the job out any more. True: ring `control`."""

    def progress(self, job_id: str) -> WorkDone | None:
        """Items of the parts that have ended, and of a planned job its rate; None if unknown."""

    def outcomes(self, job_id: str) -> dict[str, bytes]:
        """What the finished parts said, by task."""

    def record(self, job_id: str) -> Job | None:
        """The hot record of a job, or None if it is not known here."""

    def records(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The hot records of several jobs, in the order asked."""

    def replace(self, old: Job, new: Job) -> bool:
        """Store `new` if the record still equals `old`; False if somebody was faster."""

    def finish_job(self, job: Job, *, keep_s: float) -> None:
        """Keep a terminal record for `keep_s`, drop all else of the job, wake who waits for it."""

    def await_terminal(self, job_id: str, *, timeout_s: float) -> bool:
        """Wait until the job is retired (True) or the time is over (False)."""

    def reclaim_expired(self, *, attempts: int, limit: int = 1000) -> ReapReport:
        """Make expired leases and due delayed tasks ready; abandon jobs out of `attempts`."""

    def now(self) -> float:
        """The server's time, in seconds since 1970."""

    def epoch(self, token: str) -> str:
        """The first token given since Redis was last empty; a new one means that all was lost."""

    def report(self, role: str, member: str, detail: bytes, *, ttl_s: float) -> None:
        """Say that a process lives and what it offers; forgotten after `ttl_s`. 0: it leaves."""

    def reports(self, role: str) -> dict[str, bytes]:
        """The living members of a role and what they offer."""

    def waiting(self, queue: str) -> int:
        """How many inline messages and jobs with ready tasks wait in the queue."""

    def queues(self) -> tuple[str, ...]:
        """Every queue where something waits, sorted; until the next `reap` also where it did."""

    def move_queue(self, queue: str, to: str, *, limit: int = 1000) -> None:
        """Move what waits in a queue to the end of another: all inline messages, `limit` jobs.

        What else becomes ready of these jobs, and what is leased of them, counts as of the other
        queue. Their records stay as they are. The next `reap` rings.
        """


@dataclass(frozen=True, kw_only=True)
class ReapReport:
    """What a reap did: leases that had expired, and the queues to ring."""

    expired: int
    ring: tuple[str, ...]


class Replies(Protocol):
    """Answers to waiting callers, kept a short while."""

    def send(self, answers: Sequence[tuple[str, bytes]], *, keep_s: float) -> None:
        """Deliver answers to their reply names, in one round trip."""

    def wait(self, reply_to: str, *, timeout_s: float) -> bytes | None:
        """Take the answer when it comes; None when the time is over."""
