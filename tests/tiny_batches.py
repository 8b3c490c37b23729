"""What a worker makes of a batch, in one step: small lines, each answered or refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from shared import ids, object_keys
from shared.batches import BadRow, BatchRequest, BatchResult, DryRunResult, Plan, StoredFile
from shared.errors import InvalidRequest
from shared.jobs import Job
from shared.messages import encode, failure_of
from shared.types import Usage
from tests.fakes import FakeStore
from workers.handlers.batch.row_bitmap import RowBitmap


class TinyBatches:
    """Reads JSON lines; a line without a text (or a body) is a bad one."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def run(self, job: Job, body: BatchRequest) -> tuple[BatchResult, int]:
        """The result, and how many rows the file has."""
        content = self._store.get(object_keys.file_content(job.account, body.source.object)).data
        lines = content.splitlines()
        if not lines:
            raise InvalidRequest("file: holds no rows")
        judged = [(line, _fault(line, body)) for line in lines]
        bad = [
            BadRow(line=number, code=code, message="is wrong", param="text")
            for number, (_, code) in enumerate(judged, start=1)
            if code
        ]
        self._put_plan(job, len(lines), bad)
        good = [line for line, code in judged if code is None]
        done, final = RowBitmap(), RowBitmap()
        for number, (_, code) in enumerate(judged):
            (final if code else done).add(number)
        self._store.put(object_keys.done_rows(job.account, job.id), done.dumps())
        self._store.put(object_keys.final_rows(job.account, job.id), final.dumps())
        usage = Usage(input_tokens=sum(len(line.split()) for line in good))
        result = BatchResult(
            output_file=self._put(job, body.output_file, "output", good),
            error_file=self._put(job, body.error_file, "errors", [n for n, c in judged if c]),
            usage=usage,
            codes=dict(Counter(each.code for each in bad)),
            retryable=0,
        )
        return result, len(lines)

    def tried(self, account: str, body: BatchRequest) -> DryRunResult:
        """What would become of it."""
        content = self._store.get(object_keys.file_content(account, body.source.object)).data
        lines = content.splitlines()
        if not lines:
            return DryRunResult(error=failure_of(InvalidRequest("file: holds no rows")))
        bad = [
            BadRow(line=number, code=code, message="is wrong", param="text")
            for number, line in enumerate(lines, start=1)
            if (code := _fault(line, body))
        ]
        return DryRunResult(
            format="JSONL, UTF-8",
            total=len(lines),
            bad_count=len(bad),
            bad=tuple(bad),
            tokens=7,
            sampled=len(lines),
            seconds=1.5,
        )

    def _put_plan(self, job: Job, total: int, bad: list[BadRow]) -> None:
        plan = Plan(
            format="JSONL, UTF-8",
            total=total,
            bad_count=len(bad),
            bad=tuple(bad),
            rows_per_part=9,
            rows_in_file=total,
        )
        self._store.put(object_keys.plan(job.account, job.id), encode(plan))

    def _put(self, job: Job, file_id: str, what: str, lines: list[bytes]) -> str | None:
        if not lines:
            return None
        content = b"".join(line + b"\n" for line in lines)
        self._store.put(object_keys.file_content(job.account, file_id), content)
        file = StoredFile(
            id=file_id,
            purpose="batch_output",
            filename=f"{ids.batch_id_of(job.id)}_{what}.jsonl",
            bytes=len(content),
            created_at=job.created_at.timestamp(),
        )
        self._store.put(object_keys.file(job.account, file_id), encode(file))
        return file_id


def _fault(line: bytes, body: BatchRequest) -> str | None:
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        return "invalid_json_line"
    wanted = body.rows.text_column if body.rows else "body"
    return None if wanted in said else "missing_field"
