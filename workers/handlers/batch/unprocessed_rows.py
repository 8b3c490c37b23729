"""Unprocessed rows of a batch that was cancelled, expired or failed: the error file names each one.

Every row is thereby in exactly one of the two files.

    rows of parts that were cut and have no result → rows of the file that are in no part →
    rows that cannot be read any more, by number

Rows of the last group are behind a broken place of the file, or belong to a file that was deleted
or changed. Their ids are unknown, so the message has their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from shared import object_keys
from shared.batches import BadRow, BatchRequest, Plan
from shared.errors import (
    BATCH_CANCELLED,
    BATCH_EXPIRED,
    BATCH_FAILED,
    INSUFFICIENT_BALANCE,
    InsufficientBalance,
    InvalidRequest,
    ObjectMissing,
)
from shared.jobs import Job, State
from shared.types import Failure
from workers.handlers.batch import part_rows
from workers.handlers.batch.cut_parts import number_of
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.output_lines import bad_line, bad_row
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.row_bitmap import RowBitmap

_EVERY = 10_000  # rows between two looks at the lease, each a word with Redis: half a second

# The first is OpenAI's, to the letter: https://platform.openai.com/docs/guides/batch
_REASONS = {
    State.EXPIRING: (
        BATCH_EXPIRED,
        "This request could not be executed before the completion window expired.",
    ),
    State.CANCELLING: (
        BATCH_CANCELLED,
        "This request was not executed because the batch was cancelled.",
    ),
}

_NO_BALANCE = (
    "This request was not executed because the balance of the account was used up. Retry the batch "
    "after a grant."
)


def reason_of(job: Job, failure: Failure | None) -> tuple[str, str]:
    """Code and message of the rows that were never begun; `failure` is what the batch failed of."""
    if failure is not None and failure.code == InsufficientBalance.code:
        return INSUFFICIENT_BALANCE, _NO_BALANCE
    if job.state in _REASONS:
        return _REASONS[job.state]
    why = "." if failure is None else f": {failure.detail}"
    return BATCH_FAILED, f"This request was not executed because the batch failed{why}"


@dataclass(frozen=True, kw_only=True)
class UnprocessedRows:
    """The rows of a batch that are in no finished part.

    `finished` are the numbers of the parts with results; `done` are rows that are not the batch's
    to work on, as they came out of one that it retries.
    """

    reader: Reader
    job: Job
    body: BatchRequest
    plan: Plan
    finished: Collection[int]
    done: RowBitmap
    reason: tuple[str, str]

    def lines(self, *, check: Callable[[], object]) -> Iterator[bytes]:
        """The line of each row. `check` is called now and then; it raises where the work is to
        stop.

        Raises:
            Unavailable: The store is away, or the bucket's server is.
        """
        for count, row in enumerate(self._rows()):
            if count % _EVERY == 0:
                check()
            yield self._line(row)

    def _rows(self) -> Iterator[PartRow]:
        first = self.plan.rows_read
        for row in self._cut():
            first = max(first, row.number + 1)
            yield row
        with suppress(InvalidRequest, ObjectMissing):  # the rest can no longer be read
            for row in self._read(first):
                first = row.number + 1
                if row.number not in self.done:
                    yield row
        for number in range(first, self.plan.rows_in_file):
            if number not in self.done:
                # Without id columns a row's id is its number, counted from 1.
                plain = self.body.rows is not None and not self.body.rows.ids
                yield PartRow(line=0, id=str(number + 1) if plain else None, number=number)

    def _cut(self) -> Iterator[PartRow]:
        """Rows of the parts without results; also of those that the plan does not count yet."""
        store, job = self.reader.store, self.job
        for name in store.list(object_keys.parts(job.account, job.id)):
            if name.endswith(".in") and number_of(name) not in self.finished:
                yield from part_rows.loads(store.get(name).data)

    def _read(self, first: int) -> Iterator[PartRow]:
        """Rows of the file, from a number on."""
        if first >= self.plan.rows_in_file:
            return
        with self.reader.open(self.job, self.body) as file:
            rows = self.reader.rows(file, self.body, skip=first)
            for number, (row, _) in enumerate(rows, start=first):
                if number == self.plan.rows_in_file:
                    return
                yield replace(row, number=number)

    def _line(self, row: PartRow) -> bytes:
        """The line that a bad row of such a batch has."""
        code, message = self.reason
        if not row.line:
            message = f"Row {row.number + 1} of the file, which can no longer be read: {message}"
        reason: BadRow = row.refused(code, message, retryable=True)
        if self.body.rows is None:
            return bad_line(self.job, row, reason)
        return bad_row(row, reason)
