"""Plain rows with one question for all: each is answered beside the row that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.batches import BadRow, BatchRequest, Rows
from shared.dialects.shape import media_of
from shared.jobs import Job
from shared.ports import ObjectStore
from shared.resolve import with_files
from shared.types import Answer, ClassifyResult, Item
from workers.handlers.batch.part import Lines
from workers.handlers.batch.rows import PartRow
from workers.handlers.classify import Classify
from workers.leases import Hold

_encode = msgspec.json.Encoder().encode


class Score(msgspec.Struct):
    """A label and its score."""

    label: str
    score: float


class Line(msgspec.Struct, omit_defaults=True):
    """A line of a part's output: the row, and what it was found to be."""

    id: str
    line: int
    row: dict[str, object]
    prediction: object
    score: object
    predictions: object
    margin: object = msgspec.UNSET


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Classifies plain rows."""

    classify: Classify
    store: ObjectStore

    def work(self, job: Job, body: BatchRequest, rows: Sequence[PartRow], hold: Hold) -> Lines:
        """The lines of good rows, all at once.

        Raises:
            PigeonholeError: One of them cannot be classified, or none can.
            CancelledError: The job was cancelled, or the lease lost.
        """
        assert body.rows is not None
        items = with_files(
            [_item(row, body.rows) for row in rows], account=job.account, store=self.store
        )
        result = self.classify.read(job, body.rows.ask.model_copy(update={"items": items}), hold)
        groups = _groups(body.rows, result)
        failed = {each.index: each.failure for each in result.failed}
        lines = Lines(usage=result.usage)
        for index, (row, answers) in enumerate(zip(rows, result.answers, strict=True)):
            if index in failed:
                code, column = failed[index].code.lower(), body.rows.column
                reason = BadRow(
                    line=row.line, code=code, message=failed[index].detail, param=column
                )
                lines.errors.append(self.refuse(job, row, reason))
                lines.codes[code] += 1
                continue
            lines.output.append(_encode(_line(row, groups, answers)) + b"\n")
            lines.done.append(row.number)
        return lines

    def refuse(self, job: Job, row: PartRow, reason: BadRow) -> bytes:  # noqa: ARG002
        """The line of a row that did not come out."""
        said: dict[str, Any] = {"id": row.id, "line": row.line}
        if row.data is not None:
            said["row"] = row.data
        said["error"] = {"code": reason.code, "message": reason.message, "param": reason.param}
        return _encode(said) + b"\n"


def _item(row: PartRow, rows: Rows) -> Item:
    said = str((row.data or {})[rows.column])
    if rows.image_column is not None:
        return Item(images=(media_of(said),))
    return Item(file=media_of(said)) if rows.file_column is not None else Item(text=said)


def _groups(rows: Rows, result: ClassifyResult) -> list[tuple[str | None, tuple[str, ...]]]:
    """The questions, each by its group and labels."""
    if result.labels is not None:
        return [(None, result.labels)]
    return [(question.group, question.labels) for question in rows.ask.questions]


def _line(
    row: PartRow, groups: list[tuple[str | None, tuple[str, ...]]], answers: tuple[Answer, ...]
) -> Line:
    found = [_answered(labels, a) for (_, labels), a in zip(groups, answers, strict=True)]
    names = [group for group, _ in groups]
    parts: list[object] = [
        values[0] if names[0] is None else dict(zip(names, values, strict=True))
        for values in zip(*found, strict=True)
    ]
    line = Line(
        id=row.id,
        line=row.line,
        row=row.data or {},
        prediction=parts[0],
        score=parts[1],
        predictions=parts[2],
    )
    if answers[0].margin is not None:
        line.margin = parts[3]
    return line


def _answered(
    labels: tuple[str, ...], answer: Answer
) -> tuple[str | None, float | None, list[Score], float | None]:
    best = answer.best
    predictions = [
        Score(label, score)
        for label, score in zip(labels, answer.scores, strict=True)
        if score is not None
    ]
    if best is None:
        return None, None, predictions, answer.margin
    return labels[best], answer.scores[best], predictions, answer.margin
