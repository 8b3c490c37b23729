"""Planning: a batch's file is read to its end, every row is judged, and parts are cut from it.

    the whole file judged → plan.json →
    parts cut, some at a time: rows of a part → plan.json → ledger

The plan comes back when few parts are left unfinished. Cutting depends on the file alone, so a plan
that is run again, or a second one at the same time, cuts the same parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from shared import layout
from shared.batches import BadRow, BatchRequest, Cut, PartReport, Plan
from shared.errors import (
    BrokerUnavailable,
    InvalidRequest,
    LeaseLost,
    ObjectMissing,
    PreconditionFailed,
)
from shared.jobs import Job
from shared.messages import decode, encode
from shared.ports import Claim, Doorbell, Finished, Ledger, ObjectStore
from shared.telemetry import Log
from workers.handlers.batch import rows as part_rows
from workers.handlers.batch.rows import PartRow
from workers.handlers.batch.source import Reader
from workers.leases import Hold

log = Log("plan")
_MOST_BAD = 100  # bad rows that are listed before anything runs
_MOST_ROWS = 1000  # of a part
_PART_BYTES = 512 * 1024  # of a part's texts: about 100,000 tokens
_WINDOW = 32  # parts cut at a time, and a quarter of those before: reading on costs what was read
_IDS_COMPARED = 5_000_000  # ids beyond are not compared with those before: 8 bytes each, and more


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans batches."""

    store: ObjectStore
    ledger: Ledger
    doorbell: Doorbell
    reader: Reader

    def run(self, claim: Claim, job: Job, body: BatchRequest, hold: Hold) -> None:
        """Judge the file if that was not done yet, then cut the next parts.

        Raises:
            InvalidRequest: The file cannot be read, or holds no rows.
            CancelledError: The job was cancelled, or the lease lost.
            LeaseLost: Another planner was faster.
        """
        plan, etag = self._plan(job, body, hold)
        self._count(job, plan.total)
        window = max(_WINDOW, len(plan.cuts) // 4)
        if self._unfinished(job, plan) <= window // 2:
            plan = self._cut(job, body, plan, etag, window, hold)
        ring = self.ledger.extend(
            claim,
            first=0,
            parts=len(plan.cuts),
            last=plan.rows_cut == plan.total,
            low=window // 2,
            cost=plan.rows_per_part,
            finished=self._finished(job),
        )
        if ring:
            with suppress(BrokerUnavailable):  # then the keeper rings
                self.doorbell.ring(job.queue)

    def _plan(self, job: Job, body: BatchRequest, hold: Hold) -> tuple[Plan, str]:
        name = layout.plan(job.account, job.id)
        try:
            found = self.store.get(name)
        except ObjectMissing:
            plan = self._judged(job, body, hold)
            try:
                return plan, self.store.put(name, encode(plan), if_absent=True)
            except PreconditionFailed:
                found = self.store.get(name)
        return decode(Plan, found.data), found.etag

    def _judged(self, job: Job, body: BatchRequest, hold: Hold) -> Plan:
        """What the whole file holds."""
        bad: list[BadRow] = []
        duplicates: list[int] = []
        seen: set[bytes] = set()
        total = bad_count = size = 0
        with self.reader.open(job.account, body.source) as file:
            for row, row_bytes in self.reader.rows(file, body, skip=0):
                if total % 1000 == 0:
                    hold.check()
                fault = row.reason()
                if fault is None and total < _IDS_COMPARED:
                    digest = blake2b(row.id.encode(), digest_size=8).digest()
                    if digest in seen:
                        duplicates.append(total)
                        fault = _duplicate(row)
                    seen.add(digest)
                if fault is not None:
                    bad_count += 1
                    if len(bad) < _MOST_BAD:
                        bad.append(fault)
                total += 1
                size += row_bytes
            described = file.format.describe()
        if total == 0:
            raise InvalidRequest("file: holds no rows; send one row at least")
        log.info("batch.judged", rows=total, bad=bad_count)
        return Plan(
            format=described,
            total=total,
            bad_count=bad_count,
            bad=tuple(bad),
            duplicates=tuple(duplicates),
            rows_per_part=min(_MOST_ROWS, max(1, _PART_BYTES * total // max(size, 1))),
        )

    def _cut(
        self, job: Job, body: BatchRequest, plan: Plan, etag: str, window: int, hold: Hold
    ) -> Plan:
        """The plan with the next parts, whose rows are on the store."""
        duplicates = frozenset(plan.duplicates)
        cuts = list(plan.cuts)
        first = plan.rows_cut
        with self.reader.open(job.account, body.source) as file:
            rows = self.reader.rows(file, body, skip=first)
            for _ in range(window):
                hold.check()
                taken = list(_bounded(rows, plan.rows_per_part))
                if not taken:
                    break
                marked = [
                    _marked(row) if first + i in duplicates else row for i, row in enumerate(taken)
                ]
                name = layout.part_rows(job.account, job.id, len(cuts))
                self.store.put(name, part_rows.dumps(marked))
                cuts.append(Cut(first=first, rows=len(taken)))
                first += len(taken)
        cut = plan.model_copy(update={"cuts": tuple(cuts)})
        try:
            self.store.put(layout.plan(job.account, job.id), encode(cut), if_match=etag)
        except (PreconditionFailed, ObjectMissing):
            raise LeaseLost("another planner was faster") from None
        return cut

    def _count(self, job: Job, total: int) -> None:
        """Let the job's record say how many rows there are."""
        while (now := self.ledger.record(job.id)) is not None and now.progress.total != total:
            progress = now.progress.model_copy(update={"total": total})
            if now.state.terminal or self.ledger.replace(
                now, now.model_copy(update={"progress": progress})
            ):
                return

    def _unfinished(self, job: Job, plan: Plan) -> int:
        return len(plan.cuts) - len(self._results(job))

    def _results(self, job: Job) -> list[int]:
        """Numbers of the parts whose results are on the store."""
        names = self.store.list(layout.parts(job.account, job.id))
        return [number_of(name) for name in names if name.endswith(".out")]

    def _finished(self, job: Job) -> dict[int, Finished]:
        """Parts with results of which the ledger, being new, knows nothing."""
        known = self.ledger.outcomes(job.id)
        found = {}
        for number in self._results(job):
            if f"part:{number}" not in known:
                report = report_of(self.store, job, number)
                found[number] = Finished(
                    outcome=encode(report), completed=report.completed, failed=report.failed
                )
        return found


def number_of(name: str) -> int:
    """The number of the part that an object belongs to.

    >>> number_of("jobs/a/j/parts/00000012.out")
    12
    """
    return int(name.rpartition("/")[2].partition(".")[0])


def report_of(store: ObjectStore, job: Job, number: int) -> PartReport:
    """What a part says of itself, without reading the rest of it."""
    with store.open(layout.part_result(job.account, job.id, number)) as file:
        return decode(PartReport, file.readline())


def _bounded(rows: Iterator[tuple[PartRow, int]], most: int) -> Iterator[PartRow]:
    """Rows of one part: no more than `most`, and not many more bytes than a part may have."""
    size = 0
    for row, row_bytes in islice(rows, most):
        yield row
        size += row_bytes
        if size >= _PART_BYTES:
            return


def _duplicate(row: PartRow) -> BadRow:
    return BadRow(
        line=row.line, code="duplicate_id", message="has an id that came before", param="id"
    )


def _marked(row: PartRow) -> PartRow:
    fault = _duplicate(row)
    return PartRow(line=row.line, id=row.id, bad=(fault.code, fault.message, fault.param))
