"""Rows that were never begun, as their batch was cancelled or expired: each is named with that
reason in the error file, so that every row is in exactly one of the two files.

The file is read once more, row by row. Where that is no longer possible the lines are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from shared import layout
from shared.batches import BadRow, BatchRequest
from shared.errors import InvalidRequest, ObjectMissing
from shared.jobs import Job, State
from shared.ports import ObjectStore
from workers.handlers.batch import rows as part_rows
from workers.handlers.batch.answers import bad_line, bad_row
from workers.handlers.batch.row_set import RowSet
from workers.handlers.batch.rows import PartRow
from workers.handlers.batch.source import Reader

_EVERY = 10_000  # rows between two looks at the lease, each a word with Redis: half a second

# The first is OpenAI's, to the letter: https://platform.openai.com/docs/guides/batch
REASONS = {
    State.EXPIRING: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    State.CANCELLING: (
        "batch_cancelled",
        "This request was not executed because the batch was cancelled.",
    ),
}


def add_parts(rows: RowSet, store: ObjectStore, job: Job, parts: Iterable[int]) -> None:
    """Add all rows of these parts, whatever became of them."""
    for number in parts:
        data = store.get(layout.part_rows(job.account, job.id, number)).data
        for row in part_rows.loads(data):
            rows.add(row.number)


def unbegun(
    reader: Reader,
    job: Job,
    body: BatchRequest,
    *,
    begun: RowSet,
    count: int,
    check: Callable[[], object],
) -> Iterator[bytes]:
    """The lines of the rows that are not `begun`, `count` of them, as the file has them.

    Fewer, where the file was deleted or changed meanwhile. `check` is called now and then; it
    raises where the work is to stop.

    Raises:
        Unavailable: The store is away, or the bucket's server is.
    """
    if count <= 0:
        return
    code, message = REASONS[job.state]
    with suppress(InvalidRequest, ObjectMissing), reader.open(job, body) as file:
        for number, (row, _) in enumerate(reader.rows(file, body, skip=0)):
            if number % _EVERY == 0:
                check()
            if number in begun:
                continue
            yield _line(job, body, row, row.refused(code, message))
            count -= 1
            if count == 0:
                return


def _line(job: Job, body: BatchRequest, row: PartRow, reason: BadRow) -> bytes:
    """The line that a bad row of such a batch has."""
    if body.rows is None:
        return bad_line(job, row, reason)
    return bad_row(row, reason)
