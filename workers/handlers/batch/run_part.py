"""Runs one part of a batch: its rows are classified, and a line is written for each row.

A row that kills the worker fails alone. The note of the claim says which rows were running; the
next attempt runs them in halves, and then one by one. A row is given up after the worker died twice
while the row ran alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from shared import object_keys
from shared.batches import TRAIN, BadRow, BatchRequest, PartReport, distinct
from shared.errors import PigeonholeError, WorkFailed
from shared.jobs import Job
from shared.messages import encode
from shared.ports import Claim, Ledger, ObjectStore
from shared.telemetry import Log
from shared.types import LabelsAlike, Usage
from workers.handlers.batch import part_rows
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.row_bitmap import ranges
from workers.leases import Lease

log = Log("batch")
_DEATHS_ALONE = 2  # of a row that was running alone; one may be another row's fault
_NO_ROWS = -1
_MAX_ATTEMPTS = 24  # of a part; what was ever under way when a worker died is given up then


class RowRun(msgspec.Struct, array_like=True):
    """Rows `first` to `last`, which run together; how often the worker died of them."""

    first: int
    last: int
    deaths: int = 0

    @property
    def alone(self) -> bool:
        """Whether it is one row."""
        return self.last - self.first == 1


class PartCheckpoint(msgspec.Struct):
    """What an attempt leaves for the next: the runs, and which of them is under way."""

    runs: list[RowRun]
    running: int


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What came out of some rows: lines for the two files, and what they cost."""

    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    usage: Usage = Usage()
    done: list[int] = field(default_factory=list)  # numbers of the rows that came out
    final: list[int] = field(default_factory=list)  # of those that failed, and no retry cures it
    alike: tuple[LabelsAlike, ...] = ()  # of the labels of all rows

    def fail(self, row: PartRow, line: bytes, code: str, *, retryable: bool) -> None:
        """Add the line of a row that did not come out."""
        self.errors.append(line)
        self.codes[code] += 1
        if not retryable:
            self.final.append(row.number)

    def plus(self, other: Lines) -> Lines:
        """Both, one after the other."""
        return Lines(
            output=self.output + other.output,
            errors=self.errors + other.errors,
            codes=self.codes + other.codes,
            usage=self.usage + other.usage,
            done=self.done + other.done,
            final=self.final + other.final,
            alike=distinct(self.alike + other.alike),
        )


class RowKind(Protocol):
    """What the rows of a batch are."""

    def work(self, job: Job, body: BatchRequest, rows: Sequence[PartRow], hold: Lease) -> Lines:
        """The lines of good rows.

        Raises:
            PigeonholeError: They cannot run together, or not now.
            CancelledError: The job was cancelled, or the lease lost.
        """

    def refuse(self, job: Job, row: PartRow, reason: BadRow) -> bytes:
        """The line of a row that did not come out."""


@dataclass(frozen=True, kw_only=True)
class PartRunner:
    """Works through parts, of plain rows or of requests."""

    store: ObjectStore
    ledger: Ledger
    documents: RowKind
    requests: RowKind
    lessons: RowKind
    # Parts that a worker died of run one after the other, or one would be blamed for another.
    _suspects: threading.Lock = field(default_factory=threading.Lock)

    def run(self, claim: Claim, job: Job, body: BatchRequest, hold: Lease) -> PartReport:
        """The part's report, once its result is on the store.

        Raises:
            CancelledError: The job was cancelled, or the lease lost.
            Unavailable: The model has stopped, the store or Redis is away.
        """
        number = int(claim.task.partition(":")[2])
        rows = part_rows.loads(
            self.store.get(object_keys.part_rows(job.account, job.id, number)).data
        )
        runs = _runs(claim, len(rows))
        lines = Lines()
        self._note(claim, runs, _NO_ROWS)
        try:
            with self._suspects if claim.attempt > 1 else nullcontext():
                for index, run in enumerate(runs):
                    hold.check()
                    self._note(claim, runs, index)
                    lines = lines.plus(self._lines(claim, job, body, rows, run, hold))
                # While the result is stored, the next suspect may end the worker.
                self._note(claim, runs, _NO_ROWS)
        except Exception:
            with suppress(PigeonholeError):
                self._note(claim, runs, _NO_ROWS)  # given back, not dead: no row is to blame
            raise
        output = b"".join(lines.output)
        report = PartReport(
            completed=len(lines.output),
            failed=len(lines.errors),
            usage=lines.usage,
            output_bytes=len(output),
            codes=dict(lines.codes),
            done=ranges(lines.done),
            final=ranges(lines.final),
            alike=lines.alike,
        )
        result = b"".join((encode(report), b"\n", output, *lines.errors))
        self.store.put(object_keys.part_result(job.account, job.id, number), result)
        return report.short

    def _note(self, claim: Claim, runs: list[RowRun], running: int) -> None:
        if claim.attempt > 1:
            self.ledger.save_checkpoint(
                claim, msgspec.json.encode(PartCheckpoint(runs=runs, running=running))
            )

    def _lines(
        self,
        claim: Claim,
        job: Job,
        body: BatchRequest,
        rows: Sequence[PartRow],
        run: RowRun,
        hold: Lease,
    ) -> Lines:
        hopeless = run.deaths > 0 and claim.attempt >= _MAX_ATTEMPTS
        if hopeless or (run.alone and run.deaths >= _DEATHS_ALONE):
            message = f"ended its worker {run.deaths} times and was given up"
            died = ("worker_died", message, WorkFailed.retryable)
            return self._refused(job, body, rows[run.first : run.last], *died)
        return self._classified(job, body, rows[run.first : run.last], hold)

    def _classified(
        self, job: Job, body: BatchRequest, rows: Sequence[PartRow], hold: Lease
    ) -> Lines:
        """The rows together; where that fails in halves, so that the bad one stands alone."""
        good = [row for row in rows if row.bad is None]
        bad = Lines()
        for row in rows:
            if (reason := row.reason()) is not None:
                line = self._kind(body).refuse(job, row, reason)
                bad.fail(row, line, reason.code, retryable=reason.retryable)
        if not good:
            return bad
        try:
            return bad.plus(self._kind(body).work(job, body, good, hold))
        except CancelledError:
            raise
        except PigeonholeError as exc:
            if exc.outage:
                raise
            error = exc
        except Exception as exc:  # noqa: BLE001  a bug that one row meets must not cost the others
            log.error("row.crashed", exc=exc)
            error = WorkFailed(f"failed: {type(exc).__name__}")
        if len(good) == 1:
            why = (error.code.lower(), error.detail, error.retryable)
            return bad.plus(self._refused(job, body, good, *why))
        middle = len(good) // 2
        first = self._classified(job, body, good[:middle], hold)
        return bad.plus(first).plus(self._classified(job, body, good[middle:], hold))

    def _refused(
        self,
        job: Job,
        body: BatchRequest,
        rows: Sequence[PartRow],
        code: str,
        message: str,
        retryable: bool,
    ) -> Lines:
        """Rows that are given up; those that were bad before keep their own reason."""
        lines = Lines()
        for row in rows:
            reason = row.reason() or BadRow(
                line=row.line, code=code, message=message, retryable=retryable
            )
            line = self._kind(body).refuse(job, row, reason)
            lines.fail(row, line, reason.code, retryable=reason.retryable)
        return lines

    def _kind(self, body: BatchRequest) -> RowKind:
        if body.rows is not None:
            return self.documents
        return self.lessons if body.endpoint == TRAIN else self.requests


def _runs(claim: Claim, rows: int) -> list[RowRun]:
    """What runs together in this attempt, from what the last one left."""
    if claim.attempt == 1 or rows == 0:
        return [RowRun(0, rows)]
    if not claim.note:  # the first attempt leaves none: it ran everything at once
        return _split(RowRun(0, rows, 1))
    note = msgspec.json.decode(claim.note, type=PartCheckpoint)
    runs: list[RowRun] = []
    for index, run in enumerate(note.runs):
        if index != note.running:
            runs.append(run)
        else:
            died = RowRun(run.first, run.last, run.deaths + 1)
            runs += [died] if run.alone else _split(died)
    return runs


def _split(run: RowRun) -> list[RowRun]:
    """Halves of what died once; every row by itself of what died again."""
    size = run.last - run.first
    if size <= 1:
        return [run]
    if run.deaths == 1:
        middle = run.first + size // 2
        return [RowRun(run.first, middle, 1), RowRun(middle, run.last, 1)]
    return [RowRun(row, row + 1, 0) for row in range(run.first, run.last)]
