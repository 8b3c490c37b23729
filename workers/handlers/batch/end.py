"""The end of a batch: the results of its parts become the output file and the error file.

    every finished part, in order → the two files → (by `finalise`) job.json → parts deleted

A cancelled or expired batch keeps what was finished. Run again, it writes the same files.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from shared import layout
from shared.batches import BatchRequest, BatchResult, File, PartReport
from shared.errors import ObjectMissing
from shared.jobs import Job, Progress
from shared.messages import decode, encode
from shared.ports import ObjectStore
from shared.types import Usage
from workers.handlers.batch.plan import number_of
from workers.inputs.format import Format
from workers.inputs.writers import write_rows

_CHUNK_BYTES = 1024 * 1024
_PURPOSE = "batch_output"
_ENDINGS = {"jsonl": "jsonl", "csv": "csv", "parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class Assembler:
    """Puts results together. `elsewhere` writes to a URL; `clock` gives seconds since 1970."""

    store: ObjectStore
    elsewhere: Callable[[str, BinaryIO], None]
    clock: Callable[[], float] = time.time

    def run(self, job: Job, body: BatchRequest) -> tuple[BatchResult, Progress]:
        """Write the files; what is in them, and how many rows that is.

        Raises:
            Unavailable: The store is away; run it again.
        """
        numbers = self._numbers(job)
        reports = [self._report(job, number) for number in numbers]
        completed = sum(report.completed for report in reports)
        failed = sum(report.failed for report in reports)
        codes: Counter[str] = Counter()
        for report in reports:
            codes.update(report.codes)
        output_file = error_file = None
        if completed:
            lines = self._lines(job, numbers, reports, errors=False)
            output_file = self._file(job, body, body.output_file, "output", lines)
        if failed:
            lines = self._lines(job, numbers, reports, errors=True)
            error_file = self._file(job, body, body.error_file, "errors", lines)
        result = BatchResult(
            output_file=output_file,
            error_file=error_file,
            usage=Usage(
                input_tokens=sum(report.usage.input_tokens for report in reports),
                label_tokens=sum(report.usage.label_tokens for report in reports),
            ),
            codes=dict(codes),
        )
        return result, Progress(total=job.progress.total, completed=completed, failed=failed)

    def tidy(self, job: Job) -> None:
        """Delete what only served the work."""
        for name in list(self.store.list(layout.parts(job.account, job.id))):
            self.store.delete(name)
