"""The use cases of batches: create, get, list, cancel and retry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

from api.schemas.openai.batch import BatchStatus, states_of
from api.schemas.openai.expiry import kept_s
from api.schemas.openai.file import PURPOSE
from api.schemas.openai.new_batch import BatchBody, window_s
from api.schemas.openai.row_request import PLACE
from api.schemas.openai.row_request import parse as parse_asking
from api.services.batch_retries import BatchRetries
from api.services.batch_statuses import BatchStatuses
from api.services.caller import Caller
from api.services.files import FileService
from api.services.hit_counter import HitCounter
from api.services.job_submission import JobSubmission
from api.services.jobs import MAX_LOOK_S, MAX_LOOKED_AT, JobPage, JobService, holds
from api.services.request_resolver import RequestResolver
from shared import ids, object_keys
from shared.batches import BatchRequest, ColumnMapping, PartReport, RetryRows
from shared.errors import (
    Conflict,
    NotFound,
    ObjectMissing,
    PigeonholeError,
    TooBusy,
    Unavailable,
)
from shared.jobs import Job
from shared.messages import decode
from shared.output_names import FILE_KINDS, MAX_NAME_BYTES
from shared.ports import Buckets, Ledger, ObjectStore
from shared.types import JobKind
from shared.validation import refuse, within

DIALECT = "openai"
_ANY_JOB = ids.job_id(0, 0)  # as long as any other
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class BatchService:
    """Batches of accounts. A batch of another account is not found."""

    submit: JobSubmission
    jobs: JobService
    files: FileService
    resolve: RequestResolver
    ledger: Ledger
    store: ObjectStore
    buckets: Buckets
    uses: HitCounter
    default_model: str
    file_retention_s: float

    def batch_request(self, account: str, body: BatchBody) -> BatchRequest:
        """The request for a batch, with all that it names looked up and checked.

        Raises:
            PigeonholeError: There is no such file or classifier, or what is asked of each row is
                refused as it would be of a text.
        """
        source = body.source(self._input_name(account, body))
        rows = None if body.classify is None else self._rows(account, body)
        request = BatchRequest(
            model=self.submit.catalogue.default.name if rows is None else rows.ask.queue_model,
            multilingual_model=self.submit.catalogue.default_multilingual if rows is None else None,
            source=source,
            endpoint=body.endpoint,
            rows=rows,
            output_format=body.output_format or "jsonl",
            escape_formulas=body.csv_formulas == "escape",
            csv_form=body.csv_form,
            output_url=body.output_url or "",
            output_name=body.output_name or "",
            completion_window=body.completion_window,
            deadline=self.submit.clock() + body.window_s,
            metadata=body.metadata or {},
            output_keep_s=kept_s(
                body.output_expires_after, "output_expires_after", max_s=self.file_retention_s
            ),
            output_file=self.files.fresh_id(),
            error_file=self.files.fresh_id(),
        )
        self._check_names(request)
        return request

    def create(
        self, request: BatchRequest, *, caller: Caller, request_id: str, job_id: str | None
    ) -> BatchStatus:
        """Accept a batch; with the `job_id` of one that was accepted before, it is that again.

        Raises:
            Conflict: It is a retry, and not the first one of its batch.
            Unavailable: The object store did not take it, or another call is just making it.
        """
        if not request.retry_of:
            return self._accepted(request, caller, request_id, job_id)
        with self._retries.only(caller.account, request.retry_of, job_id) as only_id:
            begun = self.jobs.accepted(caller.account, only_id)
            request = begun if isinstance(begun, BatchRequest) else request
            return self._accepted(request, caller, request_id, only_id)

    def get(self, account: str, batch_id: str) -> BatchStatus:
        """A batch as it stands.

        Raises:
            NotFound: The account has no such batch, or it has expired.
        """
        return self._statuses.of(*self._found(account, batch_id))

    def wait(self, standing: BatchStatus, *, timeout_s: float) -> BatchStatus:
        """The batch when it has ended, or as it stands when the time is over.

        Raises:
            NotFound: It has expired.
        """
        job = self.jobs.wait(standing.job, timeout_s=timeout_s)
        return self._statuses.of(job, standing.request, plan=standing.plan)

    def list(
        self,
        account: str,
        *,
        after: str,
        limit: int,
        status: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[list[BatchStatus], JobPage]:
        """Batches of the account, newest first, after the one called `after`, of the status and
        with the metadata where these are given; and the page of jobs that they are.
        """

        def wanted(job: Job) -> bool:
            return (status is None or job.state in states_of(status)) and holds(job, metadata or {})

        last, until = ids.job_id_of(after), time.monotonic() + MAX_LOOK_S
        listed: list[BatchStatus] = []
        while True:
            page = self.jobs.list(
                account,
                after=last,
                limit=limit,
                under=object_keys.batches_of(account),
                wanted=wanted if status or metadata else None,
            )
            for job in page.jobs:
                with suppress(NotFound):  # expired between the listing and the look
                    standing = self._statuses.of(job, self._asked(job))
                    if status in (None, standing.status):
                        listed.append(standing)
            if listed or not page.has_more or time.monotonic() > until:
                return listed, page
            last = page.last_id or last

    def again(self, account: str, batch_id: str, rows: RetryRows) -> BatchRequest:
        """The request for a batch of those rows that did not come out of another: all, or those
        that a retry can cure.

        Raises:
            NotFound: As for `get`.
            Conflict: It has not ended, no such row is left, or what it read is not there any more.
        """
        job, request = self._found(account, batch_id)
        if not job.state.terminal:
            status = self._statuses.of(job, request).status
            raise Conflict(
                f"the batch is {status}; retry it after it has ended, or cancel it first"
            )
        self._retries.check_left(job, self._statuses.plan(job), rows)
        if not request.source.url:
            self._check_kept(account, request.source.object)
        return request.model_copy(
            update={
                "deadline": self.submit.clock() + window_s(request.completion_window),
                "output_file": self.files.fresh_id(),
                "error_file": self.files.fresh_id(),
                "retry_of": job.id,
                "retry_rows": rows,
                "origin": request.origin or job.id,
            }
        )

    def cancel(self, account: str, batch_id: str) -> BatchStatus:
        """Ask for the end of a batch; what is finished is kept.

        Raises:
            NotFound: As for `get`.
            Conflict: It has ended otherwise, or its files are being put together.
        """
        job, request = self._found(account, batch_id)
        try:
            return self._statuses.of(self.jobs.cancel(account, job.id), request)
        except Conflict:  # it speaks of the job, whose states have other names
            status = self.get(account, batch_id).status
            raise Conflict(f"the batch is {status}; it can no longer be cancelled") from None

    def finished(self, job: Job) -> Iterator[bytes]:
        """The lines of rows that came out so far, in pieces; those of later parts may be there
        before those of earlier ones.

        Raises:
            Unavailable: The batch is just ending, and its parts go.
        """
        names = self.store.list(object_keys.parts(job.account, job.id))
        for name in [each for each in names if each.endswith(".out")]:
            try:
                part = self.store.open(name)
            except ObjectMissing:
                raise Unavailable("the batch has just ended; send the request again") from None
            with part:
                yield from _output(part)

    def _input_name(self, account: str, body: BatchBody) -> str:
        """What the file is called; an object of a bucket is called as it is there."""
        if body.input_url is not None:
            self._look_at(body.input_url)
            return ""
        try:
            file = self.files.get(account, body.input_file_id or "")
        except NotFound:
            refuse("input_file_id", "no such file; it may have expired")
        if file.purpose != PURPOSE:
            refuse(
                "input_file_id",
                f"the file has the purpose {file.purpose}; send one with the purpose {PURPOSE}",
            )
        return file.filename

    def _check_kept(self, account: str, file_id: str) -> None:
        try:
            self.files.get(account, file_id)
        except NotFound:
            message = (
                f"{file_id} was deleted or has expired; upload it again and create a new batch"
            )
            refuse("input_file_id", message, Conflict)

    def _check_names(self, request: BatchRequest) -> None:
        """Refuse names that are too long, also with what a retry adds, and where none may be."""
        longest = request.model_copy(update={"retry_of": _ANY_JOB})
        created_at = datetime.fromtimestamp(self.submit.clock(), UTC)
        for kind in FILE_KINDS:
            name = longest.file_name(kind, job_id=_ANY_JOB, created_at=created_at)
            if len(name.encode()) > MAX_NAME_BYTES:
                refuse(
                    "output_name", f"results in an object name of more than {MAX_NAME_BYTES} bytes"
                )
            if request.output_url:
                self.buckets.check(request.output_url + name, write=True)

    @property
    def _statuses(self) -> BatchStatuses:
        return BatchStatuses(
            submit=self.submit, jobs=self.jobs, ledger=self.ledger, store=self.store
        )

    @property
    def _retries(self) -> BatchRetries:
        return BatchRetries(jobs=self.jobs, store=self.store, clock=self.submit.clock)

    def _look_at(self, url: str) -> None:
        """Refuse at once an address where there is nothing."""
        if not url.endswith("/"):
            self.buckets.find(url)
        elif next(self.buckets.list(url), None) is None:
            refuse("input_url", "no objects exist below this prefix")

    def _rows(self, account: str, body: BatchBody) -> ColumnMapping:
        """What is asked of each row: checked with one that stands for all."""
        assert body.classify is not None
        parsed = parse_asking(body.classify, default_model=self.default_model)
        if body.content == "images":
            parsed = self.resolve.for_images(parsed)
        try:
            ask = self.resolve.classify(parsed, account=account, content=body.content)
            model = self.submit.catalogue.find(ask.model).name
            self.submit.limits.check(ask)
        except PigeonholeError as exc:
            raise within(PLACE, exc) from None
        return ColumnMapping(
            id_column="id" if body.input_items else body.id_column,
            id_columns=tuple(body.id_columns or ()),
            text_column=body.text_column or "text",
            image_column="url" if body.input_items == "image" else body.image_column,
            file_column="url" if body.input_items == "file" else body.file_column,
            ask=ask.model_copy(update={"model": model, "items": ()}),
        )

    def _accepted(
        self, request: BatchRequest, caller: Caller, request_id: str, job_id: str | None
    ) -> BatchStatus:
        request = self._bounded(request, caller, job_id)
        job = self.submit.enqueue(
            request, caller=caller, request_id=request_id, dialect=DIALECT, job_id=job_id
        )
        if request.rows is not None and request.rows.ask.classifier is not None:
            weights = request.rows.ask.classifier
            self.uses.count(weights.account, weights.classifier_id)
        return self._statuses.of(job, request)

    def _bounded(self, request: BatchRequest, caller: Caller, job_id: str | None) -> BatchRequest:
        """The request, with the rows that the tier leaves; the planner counts those of the file.

        A batch whose rows are not counted yet holds all that were left to it.

        Raises:
            TooBusy: The batches of the account that have not ended have as many as they may.
        """
        max_rows = caller.tier.batch_rows
        if max_rows is None:  # a retried batch may have been bounded by another tier
            return request.model_copy(update={"max_rows": None})
        page = self.jobs.list(
            caller.account,
            limit=MAX_LOOKED_AT,
            under=object_keys.batches_of(caller.account),
            wanted=lambda job: not job.state.terminal and job.id != job_id,
        )
        left = max_rows - sum(
            job.progress.total or self._asked(job).max_rows or 0 for job in page.jobs
        )
        if left <= 0:
            raise TooBusy(
                f"the tier {caller.tier.name} allows {max_rows} rows in batches that have not "
                "ended, and yours have as many, or their files are still being read; try again "
                "when one has ended",
                retry_after_s=10,
            )
        return request.model_copy(update={"max_rows": left})

    def _found(self, account: str, batch_id: str) -> tuple[Job, BatchRequest]:
        try:
            job = self.jobs.get(account, ids.job_id_of(batch_id))
            if job.kind is JobKind.BATCH:
                return job, self._asked(job)
        except NotFound:
            pass
        raise NotFound("no such batch")

    def _asked(self, job: Job) -> BatchRequest:
        body = self.jobs.submission(job).body
        assert isinstance(body, BatchRequest)
        return body


def _output(part: BinaryIO) -> Iterator[bytes]:
    """The lines for the output file, out of the result of a part."""
    left = decode(PartReport, part.readline()).output_bytes
    for piece in iter(partial(part.read, _CHUNK_BYTES), b""):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return
