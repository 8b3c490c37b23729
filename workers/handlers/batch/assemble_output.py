"""The end of a batch: the results of its parts become the output file and the error file.

    every finished part, in order → the two files → copies in a bucket, on request →
    result.json → (by `finalise`) job.json → parts deleted

A batch that was cancelled, expired or failed keeps its finished rows, and its error file names the
rows that never ran. An end that runs again writes the same files.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO, cast

from shared import media_types, object_keys, service_clock
from shared.batches import BatchRequest, BatchResult, PartReport, Plan, StoredFile, distinct
from shared.errors import InvalidRequest, ObjectMissing
from shared.jobs import Job, Progress
from shared.messages import decode, encode, failure_of
from shared.output_names import FileKind
from shared.ports import Buckets, ObjectStore
from shared.telemetry import Log
from shared.types import Failure, Usage
from workers.concurrent_map import concurrent_map
from workers.handlers.batch import completed_rows as done_rows
from workers.handlers.batch import output_columns
from workers.handlers.batch.byte_pieces import PieceStream
from workers.handlers.batch.cut_parts import number_of, report_of
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.unprocessed_rows import UnprocessedRows, reason_of

log = Log("batch")
_CHUNK_BYTES = 1024 * 1024
_PURPOSE = "batch_output"


@dataclass(frozen=True, kw_only=True)
class OutputAssembler:
    """Puts results together. `reader` is the one that batches are planned with: another might
    count their rows differently. `clock` gives seconds since 1970.
    """

    store: ObjectStore
    buckets: Buckets
    reader: Reader
    clock: Callable[[], float] = service_clock.now

    def run(
        self,
        job: Job,
        body: BatchRequest,
        *,
        check: Callable[[], object],
        failure: Failure | None = None,
    ) -> tuple[BatchResult, Progress]:
        """Write the files and the result; and how many rows came out.

        `failure` is what the batch failed of. `check` raises where the end is not this worker's any
        more: who has ended the batch deletes its parts, and what is left of them must not become
        its result.

        Raises:
            Unavailable: The store is away, or the bucket's server is; run it again.
        """
        names = self.store.list(object_keys.parts(job.account, job.id))
        numbers = sorted(number_of(name) for name in names if name.endswith(".out"))
        found = self._reports(job, numbers, check)
        reports, ended = done_rows.after(self.store, job, body, found)
        completed = sum(report.completed for report in reports)
        failed = sum(report.failed for report in reports)
        codes: Counter[str] = Counter()
        for report in reports:
            codes.update(report.codes)
        parts = list(zip(numbers, reports, strict=True))
        plan = self._plan(job)
        if completed:
            self._write_output(job, body, parts, plan)
        others = None
        if plan is not None and ended is not None and plan.total > completed + failed:
            others = UnprocessedRows(
                reader=self.reader,
                job=job,
                body=body,
                plan=plan,
                finished=frozenset(numbers),
                done=ended.passed_over,
                reason=reason_of(job, failure),
            )
        began = codes.total()  # rows that were never begun are counted next: all are retryable
        with closing(_counted(others, codes, check)) as unbegun:
            errors = chain(self._lines(job, parts, errors=True), unbegun)
            first = next(errors, None)
            if first is not None:
                self._write(job, body, "errors", chain([first], errors))
        result = BatchResult(
            output_file=body.output_file if completed else None,
            error_file=None if first is None else body.error_file,
            usage=sum((report.usage for report in reports), Usage()),
            codes=dict(codes),
            alike=distinct(pair for report in reports for pair in report.alike),
            retryable=done_rows.count_retryable(reports) + codes.total() - began,
        )
        result = self._delivered(job, body, result)
        self.store.put(object_keys.result(job.account, job.id), encode(result))
        # A ledger that is new does not know the total before its next plan.
        total = job.progress.total if plan is None else plan.total
        return result, Progress(total=total, completed=completed, failed=failed)

    def _write_output(
        self,
        job: Job,
        body: BatchRequest,
        parts: Sequence[tuple[int, PartReport]],
        plan: Plan | None,
    ) -> None:
        """The output file; with the types of what was read, where it can be read once more."""
        write = partial(self._write, job, body, "output")
        lines = partial(self._lines, job, parts, errors=False)
        if output_columns.is_typed(body, plan):
            try:
                write(output_columns.typed(lines(), job, body, self.reader))
                return
            except InvalidRequest as exc:
                log.warning("batch.types_lost", reason=exc.detail)
        write(output_columns.formatted(lines(), body, plan))

    def _reports(
        self, job: Job, numbers: Sequence[int], check: Callable[[], object]
    ) -> Iterator[PartReport]:
        yield from concurrent_map(partial(report_of, self.store, job), numbers)
        check()

    def tidy(self, job: Job) -> None:
        """Delete what only served the work."""
        names = list(self.store.list(object_keys.parts(job.account, job.id)))
        deque(concurrent_map(self.store.delete, names), 0)

    def _lines(
        self, job: Job, parts: Sequence[tuple[int, PartReport]], *, errors: bool
    ) -> Iterator[bytes]:
        """The lines of one kind, part by part, in pieces of bounded size.

        The next parts are opened while one is read: a store that is far away answers slowly.
        """
        holding = [
            (number, report)
            for number, report in parts
            if (report.failed if errors else report.completed)
        ]
        files = concurrent_map(partial(self._past_report, job), (number for number, _ in holding))
        for (_, report), file in zip(holding, files, strict=True):
            with file:
                output = _taken(file, report.output_bytes)
                if not errors:
                    yield from output
                    continue
                for _ in output:
                    pass  # the errors come after it
                while piece := file.read(_CHUNK_BYTES):
                    yield piece

    def _past_report(self, job: Job, number: int) -> BinaryIO:
        """The open result of a part, read to the end of its report."""
        file = self.store.open(object_keys.part_result(job.account, job.id, number))
        try:
            file.readline()
        except BaseException:
            file.close()
            raise
        return file

    def _delivered(self, job: Job, body: BatchRequest, result: BatchResult) -> BatchResult:
        """The result, with its files in the bucket too if that was asked, or why they are not."""
        if not body.output_url:
            return result
        try:
            output = self._sent(job, body, "output") if result.output_file else None
            errors = self._sent(job, body, "errors") if result.error_file else None
        except InvalidRequest as exc:
            return result.model_copy(update={"undelivered": failure_of(exc)})
        return result.model_copy(update={"output_url": output, "error_url": errors})

    def _sent(self, job: Job, body: BatchRequest, kind: FileKind) -> str:
        """Where a file was copied to."""
        url = body.output_url + _name(job, body, kind)
        with self.store.open(object_keys.file_content(job.account, _id_of(body, kind))) as content:
            self.buckets.put(url, content, media_type=_media_type(body, kind))
        return url

    def _plan(self, job: Job) -> Plan | None:
        """What is known of the file, if it was read to its end."""
        try:
            return decode(Plan, self.store.get(object_keys.plan(job.account, job.id)).data)
        except ObjectMissing:
            return None

    def _write(
        self,
        job: Job,
        body: BatchRequest,
        kind: FileKind,
        pieces: Iterable[bytes],
    ) -> None:
        """A file of the account: its bytes, then its record, from when on it is there."""
        stream = PieceStream(pieces)
        file_id = _id_of(body, kind)
        name = object_keys.file_content(job.account, file_id)
        media_type = _media_type(body, kind)
        self.store.put(name, cast("BinaryIO", stream), media_type=media_type)
        now = self.clock()
        record = StoredFile(
            id=file_id,
            purpose=_PURPOSE,
            filename=_name(job, body, kind).rpartition("/")[2],
            bytes=stream.size,
            created_at=now,
            expires_at=None if body.output_keep_s is None else now + body.output_keep_s,
        )
        self.store.put(object_keys.file(job.account, file_id), encode(record))


def _id_of(body: BatchRequest, kind: FileKind) -> str:
    return body.output_file if kind == "output" else body.error_file


def _name(job: Job, body: BatchRequest, kind: FileKind) -> str:
    return body.file_name(kind, job_id=job.id, created_at=job.created_at)


def _media_type(body: BatchRequest, kind: FileKind) -> str:
    return media_types.of_file(f"{kind}.{body.extension_of(kind)}")


def _counted(
    rows: UnprocessedRows | None, codes: Counter[str], check: Callable[[], object]
) -> Generator[bytes, None, None]:
    """The lines of rows that were never begun, counted in `codes`."""
    if rows is not None:
        for line in rows.lines(check=check):
            codes[rows.reason[0]] += 1
            yield line


def _taken(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes, in pieces."""
    while size > 0 and (piece := file.read(min(_CHUNK_BYTES, size))):
        size -= len(piece)
        yield piece
