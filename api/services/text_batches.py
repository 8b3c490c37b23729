"""The use cases of batches of texts in the format of the Classer API.

A record holds the question of the batch, and the id of the batch of plain rows that classifies the
texts. The uploaded input becomes a file of the account. URLs without a key are signed with a secret
of the record, so those of a deleted batch stop working.

A batch is kept as long as a file until it starts, and then as long as its job. After that it is not
found, and the keeper deletes the record.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from itertools import islice
from typing import Any

import msgspec

from api.schemas.body_stream import Readable
from api.schemas.openai.batch import BatchStatus
from api.schemas.openai.new_batch import BatchBody
from api.schemas.text_batch import NewTextBatchBody, Status, result_lines
from api.services.batches import BatchService
from api.services.caller import Caller
from shared import ids, object_keys
from shared.batches import BatchRequest, StoredFile
from shared.errors import Conflict, NotFound, ObjectMissing, PreconditionFailed
from shared.messages import decode, encode
from shared.types import Value

URLS_KEPT_S = 3600
LISTED = 20
_FILENAME = "texts.jsonl"
_CHUNK_BYTES = 1024 * 1024
_BYTES_PER_TOKEN = 4  # of English
_decode_line = msgspec.json.Decoder().decode


class TextBatch(Value):
    """A batch of texts at rest. `run`: the id of the job that works on it; empty before a start.

    Times are in seconds since 1970. `expires_at` is None in records of versions without expiry,
    which the keeper deletes by their age.
    """

    id: str
    created_at: float
    expires_at: float | None = None
    ask: dict[str, Any]  # a classify request of the native dialect, without its input
    multi: bool
    file_id: str
    secret: str
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class TextBatchStatus:
    """A batch of texts as it stands; `standing` and `file` as far as they are there."""

    record: TextBatch
    standing: BatchStatus | None
    file: StoredFile | None

    @property
    def status(self) -> Status:
        """In the words of the Classer API."""
        if self.standing is None:
            return "pending"
        if not self.standing.job.state.terminal:
            return "processing"
        return "completed" if self.standing.status == "completed" else "failed"

    def render(self) -> dict[str, Any]:
        """The object of the API."""
        standing, job = self.standing, self.standing and self.standing.job
        error = None
        if self.status == "failed" and standing is not None:
            failure = standing.job.error
            error = f"the batch {standing.status}" if failure is None else failure.detail
        return {
            "job_id": self.record.id,
            "status": self.status,
            "requests_total": standing.total if standing else 0,
            "requests_completed": standing.completed if standing else 0,
            "requests_failed": standing.failed if standing else 0,
            "estimated_tokens": self.file.bytes // _BYTES_PER_TOKEN if self.file else 0,
            "actual_tokens": job.usage.total_tokens if job and job.state.terminal else 0,
            "created_at": _time(datetime.fromtimestamp(self.record.created_at, UTC)),
            "started_at": _time(job.created_at) if job else None,
            "completed_at": _time(job.finished_at) if job else None,
            "error": error,
        }


@dataclass(frozen=True, kw_only=True)
class TextBatches:
    """Batches of texts of accounts. One of another account is not found."""

    batches: BatchService
    max_file_bytes: int

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970."""
        return self.batches.submit.clock

    def create(self, account: str, body: NewTextBatchBody) -> TextBatch:
        """A batch that waits for its texts.

        Raises:
            PigeonholeError: What each text is to be asked is refused.
        """
        unresolved = body.ask(self.batches.default_model)
        request = self.batches.resolve.classify(unresolved, account=account)
        self.batches.submit.limits.check(request)
        now = self.clock()
        record = TextBatch(
            id=ids.job_id(int(now * 1000), ids.random_bits()),
            created_at=now,
            expires_at=now + self.batches.file_retention_s,
            ask=_native(body, unresolved.request.multi_label, unresolved.request.template),
            multi=body.mode == "multi",
            file_id=self.batches.files.fresh_id(),
            secret=secrets.token_hex(32),
        )
        if body.mode == "multi" and unresolved.request.threshold is not None:
            record.ask["threshold"] = unresolved.request.threshold.default
        self.batches.store.put(object_keys.text_batch(account, record.id), encode(record))
        return record

    def presigned(self, account: str, record: TextBatch) -> tuple[str, dict[str, str]] | None:
        """URL and fields of the form that takes the texts to the object store, if it has forms."""
        name = object_keys.file_content(account, record.file_id)
        return self.batches.store.presign_post(
            name, expires_s=URLS_KEPT_S, max_bytes=self.max_file_bytes
        )

    def get(self, account: str, batch_id: str) -> TextBatchStatus:
        """A batch as it stands.

        Raises:
            NotFound: The account has no such batch, or it has expired.
        """
        return self._status(account, self.record(account, batch_id))

    def list(self, account: str) -> list[TextBatchStatus]:
        """The newest ones."""
        found = islice(self.batches.store.children(object_keys.text_batches_of(account)), LISTED)
        statuses = []
        for batch_id in found:
            with suppress(NotFound):  # deleted meanwhile
                statuses.append(self.get(account, batch_id))
        return statuses

    def receive(self, account: str, record: TextBatch, content: Readable) -> StoredFile:
        """Keep the texts of a batch that was not started yet.

        Raises:
            Conflict: It was started.
        """
        if record.run:
            raise Conflict("the batch was started; create a new one for other texts")
        name = object_keys.file_content(account, record.file_id)
        self.batches.store.put(name, content, media_type="application/jsonl")  # type: ignore[arg-type]
        return self._kept(account, record)

    def start(self, caller: Caller, batch_id: str, *, request_id: str) -> None:
        """Begin to work on the texts.

        Raises:
            NotFound: As for `get`.
            Conflict: It is worked on or completed, or no texts were uploaded.
        """
        account = caller.account
        record, etag = self._stored(account, batch_id)
        status = self._status(account, record)
        if status.status not in {"pending", "failed"}:
            raise Conflict(f"the batch is {status.status}; only a pending or failed one starts")
        if status.file is None:
            try:
                self._kept(account, record)
            except ObjectMissing:
                raise Conflict("no texts were uploaded: send them to upload_url first") from None
        request = self._asked(account, record)
        job_id = ids.job_id(int(self.clock() * 1000), ids.random_bits())
        # Not longer than the job: without it the batch would seem pending again.
        expires_at = self.clock() + self.batches.submit.intake.result_retention_s
        started = record.model_copy(update={"run": job_id, "expires_at": expires_at})
        try:
            name = object_keys.text_batch(account, batch_id)
            self.batches.store.put(name, encode(started), if_match=etag)
        except PreconditionFailed:
            raise Conflict("another call has just started the batch") from None
        self.batches.create(request, caller=caller, request_id=request_id, job_id=job_id)

    def results(self, account: str, record: TextBatch) -> Iterator[bytes]:
        """The lines of results of a completed batch.

        Raises:
            NotFound: The results have expired.
            Conflict: It is not completed.
        """
        status = self._status(account, record)
        if status.status != "completed" or status.standing is None:
            raise Conflict(f"the batch is {status.status}; results are there when it is completed")
        result = status.standing.result
        files = (result.output_file, result.error_file) if result else ()
        lines = [self._lines(account, file_id) for file_id in files if file_id]
        merged = heapq.merge(*lines, key=lambda line: int(line["line"]))
        return result_lines(merged, multi=record.multi)

    def delete(self, account: str, batch_id: str) -> None:
        """Delete a batch, its texts and its results.

        Raises:
            NotFound: As for `get`.
            Conflict: It is worked on.
        """
        status = self.get(account, batch_id)
        if status.status == "processing":
            raise Conflict("the batch is processing; delete it when it has ended")
        result = status.standing.result if status.standing else None
        others = (result.output_file, result.error_file) if result else ()
        for file_id in (status.record.file_id, *others):
            with suppress(NotFound):
                self.batches.files.delete(account, file_id or "")
        self.batches.store.delete(object_keys.text_batch(account, batch_id))

    def signed(self, record: TextBatch, use: str) -> dict[str, str]:
        """The query of a URL that needs no key."""
        expires = str(int(self.clock()) + URLS_KEPT_S)
        return {"expires": expires, "signature": _signature(record, use, expires)}

    def signed_for(
        self, account: str, batch_id: str, use: str, *, expires: str, signature: str
    ) -> TextBatch:
        """The batch of a URL that needs no key.

        Raises:
            NotFound: There is no such batch, or the URL is wrong or has expired.
        """
        try:
            record = self.record(account, batch_id)
        except NotFound:
            record = None
        known = record is not None and hmac.compare_digest(
            _signature(record, use, expires).encode(), signature.encode()
        )
        if record is None or not known or not expires.isdigit() or int(expires) < self.clock():
            raise NotFound("the URL is wrong or has expired; ask for a new one")
        return record

    def record(self, account: str, batch_id: str) -> TextBatch:
        """What is stored of a batch.

        Raises:
            NotFound: As for `get`.
        """
        return self._stored(account, batch_id)[0]

    def _stored(self, account: str, batch_id: str) -> tuple[TextBatch, str]:
        """What is stored of a batch, and its entity tag."""
        if ids.is_job_id(batch_id):
            name = object_keys.text_batch(account, batch_id)
            with suppress(ObjectMissing):
                stored = self.batches.store.get(name)
                record = decode(TextBatch, stored.data)
                if record.expires_at is None or self.clock() < record.expires_at:
                    return record, stored.etag
        raise NotFound("no such batch")

    def _status(self, account: str, record: TextBatch) -> TextBatchStatus:
        standing = file = None
        with suppress(NotFound):
            if record.run:
                standing = self.batches.get(account, ids.batch_id_of(record.run))
        with suppress(NotFound):
            file = self.batches.files.get(account, record.file_id)
        return TextBatchStatus(record=record, standing=standing, file=file)

    def _kept(self, account: str, record: TextBatch) -> StoredFile:
        """The texts as a file of the account, once their bytes are on the store."""
        size = 0
        with self.batches.store.open(object_keys.file_content(account, record.file_id)) as content:
            while piece := content.read(_CHUNK_BYTES):
                size += len(piece)
        now = self.clock()
        file = StoredFile(
            id=record.file_id,
            purpose="batch",
            filename=_FILENAME,
            bytes=size,
            created_at=now,
            expires_at=record.expires_at,
        )
        self.batches.files.keep(account, file)
        return file

    def _asked(self, account: str, record: TextBatch) -> BatchRequest:
        body = BatchBody(input_file_id=record.file_id, classify=record.ask, input_format="jsonl")
        request = self.batches.batch_request(account, body)
        assert request.rows is not None
        rows = request.rows.model_copy(update={"tokens": True})
        return request.model_copy(update={"rows": rows})

    def _lines(self, account: str, file_id: str) -> Iterator[dict[str, Any]]:
        size = self.batches.files.get(account, file_id).bytes
        with self.batches.files.open(account, file_id, start=0, end=size) as content:
            for line in TextIOWrapper(content, "utf-8", newline="\n"):
                yield _decode_line(line)


def _native(body: NewTextBatchBody, multi_label: bool, template: str | None) -> dict[str, Any]:
    fields = {
        "labels": body.labels,
        "classifier_id": body.classifier,
        "descriptions": body.descriptions,
        "examples": {label: list(texts) for label, texts in (body.examples or {}).items()} or None,
        "template": template,
        "multi_label": multi_label or None,
        "cache": body.cache,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _signature(record: TextBatch, use: str, expires: str) -> str:
    message = f"{use}.{record.id}.{expires}".encode()
    return hmac.new(record.secret.encode(), message, hashlib.sha256).hexdigest()


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
