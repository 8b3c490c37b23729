"""The use cases of jobs: get, list, result and cancel.

The hot record answers while it is known; then the final record on the object store; then the
accepted request, which says that the job waits for the keeper.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from shared import ids, object_keys
from shared.errors import BrokerUnavailable, Conflict, NotFound, ObjectMissing, Unavailable
from shared.job_cancellation import cancel_job
from shared.job_kinds import JOB_KINDS, Body
from shared.jobs import Job, Progress, State
from shared.messages import Submission, decode
from shared.ports import Doorbell, Ledger, ObjectStore
from shared.retraining import PHASES, Run, RunStatus, run_id_of
from shared.retraining_store import RetrainingStore
from shared.types import JobKind, JobResult

PLOTS = {
    f"{plot}.{kind}": media_type
    for plot in ("confusion_matrix", "reliability")
    for kind, media_type in (("png", "image/png"), ("svg", "image/svg+xml"))
}
"""The drawings that a job may have beside its result, and their media types."""

MAX_LOOKED_AT = 1000  # jobs of a filtered list, before a page with any of them is answered
MAX_LOOK_S = 10.0  # for the first job of a page, well within the time limit of clients
_LOOKED_AT_ONCE = 100  # of them, in one word with Redis


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Some jobs of a list. The next page begins after `last_id`, where there are more."""

    jobs: list[Job]
    has_more: bool
    last_id: str | None


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job as it stands; `run` is that of a retraining under way, which knows its phase."""

    job: Job
    run: Run | None = None

    @property
    def phase(self) -> RunStatus | None:
        """What a retraining does now."""
        return self.run.status if self.run and self.run.status in PHASES else None

    @property
    def progress(self) -> Progress:
        """The counts of the job; of a retraining under way the rows that it has embedded."""
        if self.run is None or not self.run.progress.total:
            return self.job.progress
        return Progress(**self.run.progress.model_dump())

    @property
    def version(self) -> str:
        """Changes with everything that a client waits for."""
        counts = self.progress.model_dump().values()
        phase = (self.phase,) if self.phase else ()
        return "-".join(map(str, (self.job.state, *phase, *counts)))


def holds(job: Job, metadata: Mapping[str, str]) -> bool:
    """Whether the metadata of a job has all of these values."""
    return metadata.items() <= job.metadata.items()


@dataclass(frozen=True, kw_only=True)
class JobService:
    """Durable jobs of accounts. A job of another account is not found."""

    ledger: Ledger
    store: ObjectStore
    doorbell: Doorbell
    clock: Callable[[], float]

    def get(self, account: str, job_id: str) -> Job:
        """The job as it stands.

        Raises:
            NotFound: The account has no such job, or it has expired.
        """
        if not ids.is_job_id(job_id):
            raise NotFound("no such job")
        try:
            hot = self.ledger.record(job_id)
        except BrokerUnavailable:
            hot = None  # the store knows what was accepted and what has ended
        if hot is not None:
            if hot.account != account:
                raise NotFound("no such job")
            return hot
        return self._stored(account, job_id)

    def status(self, job: Job) -> JobStatus:
        """The job with the phase and the progress of its retraining, if it does one."""
        if job.kind is not JobKind.RETRAIN or job.state.terminal:
            return JobStatus(job=job)
        with suppress(NotFound):
            run = RetrainingStore(store=self.store).run(
                job.account, job.classifier, run_id_of(job.id)
            )
            return JobStatus(job=job, run=run)
        return JobStatus(job=job)

    def list(
        self,
        account: str,
        *,
        after: str = "",
        limit: int = 20,
        under: str | None = None,
        wanted: Callable[[Job], bool] | None = None,
    ) -> JobPage:
        """Jobs of the account, newest first, after the job `after`.

        With `wanted` a page may have fewer than `limit` jobs though there are more: it ends at the
        first of each `MAX_LOOKED_AT` jobs looked at by which it has any, or after `MAX_LOOK_S`. So
        it is empty only if nothing is found in that time: the OpenAI SDKs stop at an empty page.

        Args:
            account: Whose.
            after: The id of the last one that is known.
            limit: How many at most.
            under: The prefix whose next segments are the ids of those meant; all of them if None.
            wanted: Says of a job whether it is listed; all are if None.
        """
        prefix = object_keys.jobs_of(account) if under is None else under
        until = time.monotonic() + MAX_LOOK_S
        while True:
            page = self._page(account, prefix, after=after, limit=limit, wanted=wanted)
            if page.jobs or not page.has_more or time.monotonic() > until:
                return page
            after = page.last_id or after

    def _page(
        self,
        account: str,
        prefix: str,
        *,
        after: str,
        limit: int,
        wanted: Callable[[Job], bool] | None,
    ) -> JobPage:
        """Jobs among the next `MAX_LOOKED_AT`; all are listed if `wanted` is None."""
        names = self.store.children(prefix, after=after)
        jobs: list[Job] = []
        left, last = limit if wanted is None else MAX_LOOKED_AT, ""
        while left > 0 and len(jobs) < limit:
            size = min(left, _LOOKED_AT_ONCE if wanted else limit - len(jobs))
            chunk = list(islice(names, size))
            left -= size
            for place, (last, job) in enumerate(self._found(account, chunk), start=1):
                if job is not None and (wanted is None or wanted(job)):
                    jobs.append(job)
                if len(jobs) == limit:
                    more = place < len(chunk) or next(names, None) is not None
                    return JobPage(jobs=jobs, has_more=more, last_id=last)
            if len(chunk) < size:
                return JobPage(jobs=jobs, has_more=False, last_id=jobs[-1].id if jobs else None)
        return JobPage(jobs=jobs, has_more=next(names, None) is not None, last_id=last or None)

    def _found(self, account: str, names: Sequence[str]) -> Iterator[tuple[str, Job | None]]:
        """The jobs of these ids, each with its id; None of one that has expired meanwhile."""
        for job_id, hot in zip(names, self._hot(names), strict=True):
            try:
                yield job_id, hot or self._stored(account, job_id)
            except NotFound:
                yield job_id, None

    def submission(self, job: Job) -> Submission:
        """What was asked.

        Raises:
            NotFound: It has expired.
        """
        try:
            data = self.store.get(object_keys.request(job.account, job.id)).data
        except ObjectMissing:
            raise NotFound("no such job") from None
        return decode(Submission, data)

    def accepted(self, account: str, job_id: str) -> Body | None:
        """What a job was asked for that the account may have been accepted before."""
        try:
            return decode(
                Submission, self.store.get(object_keys.request(account, job_id)).data
            ).body
        except ObjectMissing:
            return None

    def result(self, job: Job) -> JobResult:
        """What came out.

        Raises:
            Conflict: The job has not succeeded.
            NotFound: The result has expired.
        """
        if job.state is not State.SUCCEEDED:
            raise Conflict(f"the job is {job.state}; only a succeeded job has a result")
        try:
            data = self.store.get(object_keys.result(job.account, job.id)).data
        except ObjectMissing:
            raise NotFound("the result has expired") from None
        return decode(JOB_KINDS[job.kind].result, data)

    def plot(self, job: Job, file: str) -> bytes:
        """A drawing beside the result.

        Raises:
            NotFound: There is none of the name, or it has expired.
        """
        if file not in PLOTS:
            raise NotFound(f"the plots of an evaluation are {', '.join(PLOTS)}")
        try:
            return self.store.get(object_keys.plot(job.account, job.id, file)).data
        except ObjectMissing:
            raise NotFound("the job has no such plot") from None

    def cancel(self, account: str, job_id: str) -> Job:
        """Ask for the end of a job; what runs stops at the next batch.

        A job that is cancelled already is returned as it is.

        Raises:
            NotFound: The account has no such job.
            Conflict: The job has ended otherwise, or is putting its result together.
            Unavailable: The job waits for the keeper; it cannot be cancelled just now.
        """
        while True:
            job = self.get(account, job_id)
            if job.state is State.CANCELLED:
                return job
            if job.state.terminal or job.state in {State.FINALISING, State.EXPIRING}:
                raise Conflict(f"the job is {job.state}; it can no longer be cancelled")
            now = datetime.fromtimestamp(self.clock(), UTC)
            if cancelled := cancel_job(self.ledger, self.doorbell, job, now=now):
                return cancelled
            if self.ledger.record(job_id) is None:
                raise Unavailable("the job is being recovered; try again", retry_after_s=5)

    def drop(self, job: Job) -> None:
        """Forget a job that has ended, and all that it kept."""
        for name in list(self.store.list(object_keys.job_prefix(job.account, job.id))):
            self.store.delete(name)
        with suppress(BrokerUnavailable):  # then it is known there for an hour
            self.ledger.finish_job(job, keep_s=0)

    def wait(self, job: Job, *, timeout_s: float) -> Job:
        """The job when it has ended, or as it stands when the time is over."""
        if not job.state.terminal and timeout_s > 0:
            self.ledger.await_terminal(job.id, timeout_s=timeout_s)
            return self.get(job.account, job.id)
        return job

    def _hot(self, job_ids: Sequence[str]) -> Sequence[Job | None]:
        try:
            return self.ledger.records(job_ids)
        except BrokerUnavailable:
            return [None] * len(job_ids)  # as in `get`

    def _stored(self, account: str, job_id: str) -> Job:
        with suppress(ObjectMissing):
            return self._ended(account, job_id)
        with suppress(ObjectMissing):
            data = self.store.get(object_keys.request(account, job_id)).data
            self.store.get(object_keys.open_marker(job_id))
            return decode(Submission, data).job
        # Without a marker it has ended this moment, or the API died before it was accepted.
        try:
            return self._ended(account, job_id)
        except ObjectMissing:
            raise NotFound("no such job") from None

    def _ended(self, account: str, job_id: str) -> Job:
        return decode(Job, self.store.get(object_keys.job(account, job_id)).data)
