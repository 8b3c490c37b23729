"""Plain rows, classified with one question; each result is stored with its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from shared.batches import BadRow, BatchRequest, ColumnMapping
from shared.dialects import classify_response
from shared.jobs import Job
from shared.ports import ObjectStore
from shared.request_resolution import with_files
from shared.schema_base import media_of
from shared.types import Failure, Item, Question
from workers.handlers.batch.output_lines import bad_row
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.run_part import Lines
from workers.handlers.classify import ClassifyHandler
from workers.leases import Lease

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class PlainRows:
    """Classifies plain rows."""

    classify: ClassifyHandler
    store: ObjectStore

    def work(self, job: Job, body: BatchRequest, rows: Sequence[PartRow], hold: Lease) -> Lines:
        """The lines of good rows, all at once.

        Raises:
            PigeonholeError: One of them cannot be classified, or none can.
            CancelledError: The job was cancelled, or the lease lost.
        """
        assert body.rows is not None
        items = with_files(
            [_item(row, body.rows) for row in rows],
            account=job.account,
            store=self.store,
            accepted_at=job.created_at.timestamp(),
        )
        update = {"items": items, "errors": "per_item"}
        result = self.classify.read(job, body.rows.ask.model_copy(update=update), hold)
        questions = body.rows.ask.questions
        if result.labels is not None:
            questions = (Question(labels=result.labels),)
        files = {each.index: each for each in result.files}
        failed = {each.index: each.failure for each in result.failed}
        lines = Lines(usage=result.usage, alike=result.alike)
        for index, (row, answers) in enumerate(zip(rows, result.answers, strict=True)):
            if index in failed:
                code, cures = failed[index].code.lower(), failed[index].retryable
                reason = row.refused(
                    code, _message(failed[index]), body.rows.column, retryable=cures
                )
                lines.fail(row, self.refuse(job, row, reason), code, retryable=cures)
                continue
            fields = classify_response.found(questions, answers)
            if index in files:
                fields["file"] = classify_response.read(questions, files[index])
            if body.rows.ask.classifier is not None:
                fields["classifier"] = classify_response.version_of(body.rows.ask.classifier)
            if result.cache is not None:
                fields["cached"] = result.has_cached(index)
            if body.rows.tokens:
                fields["tokens"] = result.item_tokens[index]
            place = {"id": row.id, **row.origin, "line": row.line}
            line = {**place, "row": row.data or {}, **fields}
            lines.output.append(_encode(line) + b"\n")
            lines.done.append(row.number)
        return lines

    def refuse(self, job: Job, row: PartRow, reason: BadRow) -> bytes:  # noqa: ARG002
        """The line of a row that did not come out."""
        return bad_row(row, reason)


def _message(failure: Failure) -> str:
    """What is wrong with a row, without the place that the item has among others."""
    return failure.fields[0][1] if failure.fields else failure.detail


def _item(row: PartRow, rows: ColumnMapping) -> Item:
    value = str((row.data or {})[rows.column])
    if rows.image_column is not None:
        return Item(images=(media_of(value),))
    return Item(file=media_of(value)) if rows.file_column is not None else Item(text=value)
