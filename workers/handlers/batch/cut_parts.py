"""Planning: the input of a batch is validated, and its rows are cut into parts, a few at a time.

    the whole file validated → plan.json →
    parts cut, a few at a time: rows of a part → plan.json → ledger

Planning continues when few parts are unfinished. The cuts depend on the file alone: a plan that
runs again, or twice at the same time, cuts the same parts. Training changes the classifier for the
next line, so parts of train requests run one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from shared import object_keys
from shared.batches import TRAIN, BatchRequest, PartReport, Plan
from shared.errors import (
    BrokerUnavailable,
    InvalidRequest,
    LeaseLost,
    ObjectMissing,
    PreconditionFailed,
)
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import decode, encode
from shared.ports import Claim, Doorbell, FinishedPart, Ledger, ObjectStore
from shared.telemetry import Log
from shared.types import Usage
from workers.balance_check import BalanceCheck
from workers.concurrent_map import concurrent_map
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.batch import completed_rows as done_rows
from workers.handlers.batch import part_rows
from workers.handlers.batch.estimate import Forecast
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.part_sizes import PART_BYTES, rows_per_part
from workers.handlers.batch.row_bitmap import RowBitmap
from workers.handlers.batch.validate_input import DUPLICATE, ignored, judge
from workers.leases import Lease

log = Log("plan")
_HELD_BYTES = 4 * 1024 * 1024  # of whole rows, with the columns that nothing is asked of
_WINDOW = 32  # parts cut at a time, and a quarter of those before: reading on costs what was read
_EVERY = 1000  # rows between two looks at the lease


@dataclass(frozen=True, kw_only=True)
class BatchPlanner:
    """Plans batches. Lines that are requests are judged by `limits`. A batch of an account with a
    balance is estimated with the `models` of this process, if its model is among them.
    """

    store: ObjectStore
    ledger: Ledger
    doorbell: Doorbell
    reader: Reader
    limits: Limits
    balance: BalanceCheck
    models: Mapping[str, LoadedModel]

    def run(self, claim: Claim, job: Job, body: BatchRequest, hold: Lease) -> None:
        """Judge the file if that was not done yet, then cut the next parts.

        Raises:
            InvalidRequest: The file cannot be read, or holds no rows.
            CancelledError: The job was cancelled, or the lease lost.
            LeaseLost: Another planner was faster.
        """
        plan, etag = self._plan(job, body, hold)
        self._count(job, plan.total)
        window = max(_WINDOW, plan.parts // 4)
        results = self._results(job)
        self._recount(job)
        if plan.parts - len(results) <= window // 2 and not plan.cut:
            plan = self._cut(job, body, plan, etag, window, hold)
        in_turn = body.endpoint == TRAIN
        handed = min(plan.parts, len(results) + 1) if in_turn else plan.parts
        ring = self.ledger.add_parts(
            claim,
            first=0,
            parts=handed,
            last=plan.cut and handed == plan.parts,
            low=0 if in_turn else window // 2,
            cost=plan.rows_per_part,
            finished=self._finished(job, results),
        )
        if ring:
            with suppress(BrokerUnavailable):  # then the keeper rings
                self.doorbell.ring(job.queue)

    def _plan(self, job: Job, body: BatchRequest, hold: Lease) -> tuple[Plan, str]:
        name = object_keys.plan(job.account, job.id)
        try:
            found = self.store.get(name)
        except ObjectMissing:
            plan = self._judged(job, body, hold)
            try:
                return plan, self.store.put(name, encode(plan), if_absent=True)
            except PreconditionFailed:
                found = self.store.get(name)
        return decode(Plan, found.data), found.etag

    def _judged(self, job: Job, body: BatchRequest, hold: Lease) -> Plan:
        """What the whole file holds; what only cutting needs of it is put beside the plan."""
        earlier = done_rows.before(self.store, job, body)
        forecast = None
        name = body.model if body.rows is None else body.rows.ask.model
        if job.metered and (model := self.models.get(name)) is not None:
            forecast = Forecast.of(body, model, models=self.models, limits=self.limits)
        judged = judge(
            self.reader,
            job,
            body,
            limits=self.limits,
            done=earlier.passed_over,
            check=hold.check,
            see=ignored if forecast is None else forecast.sample.see,
        )
        if body.max_rows is not None and judged.total > body.max_rows:
            raise InvalidRequest(
                f"file: has {judged.total} rows, but the tier of the account leaves "
                f"{body.max_rows} rows to batches at the moment: split the file, or wait until "
                "other batches have ended"
            )
        if forecast is not None:
            self.balance.check(job, needed=max(1, forecast.tokens(judged)))
        log.info("batch.judged", rows=judged.total, bad=judged.bad_count)
        if body.retry_of:
            done_rows.keep(self.store, job, earlier)
        if len(judged.repeated):
            name = object_keys.repeated_rows(job.account, job.id)
            self.store.put(name, judged.repeated.dumps())
        return Plan(
            format=judged.format,
            total=judged.total,
            bad_count=judged.bad_count,
            bad=judged.bad,
            repeated=len(judged.repeated),
            rows_per_part=rows_per_part(judged, body),
            rows_in_file=judged.rows,
        )

    def _cut(
        self, job: Job, body: BatchRequest, plan: Plan, etag: str, window: int, hold: Lease
    ) -> Plan:
        """The plan with the next parts, whose rows are on the store."""
        repeated = self._repeated(job, plan)
        done = done_rows.before(self.store, job, body).passed_over
        parts, read = plan.parts, plan.rows_read
        with self.reader.open(job, body) as file:
            rows = _left(self.reader.rows(file, body, skip=read), read, done, repeated, hold)

            def next_parts() -> Iterator[tuple[str, bytes]]:
                nonlocal parts, read
                for _ in range(window):
                    hold.check()
                    lines: list[bytes] = []
                    held, last = 0, read
                    for row in _bounded(rows, plan.rows_per_part):
                        lines.append(part_rows.dumps([row]))
                        held, last = held + len(lines[-1]), row.number
                        if held >= _HELD_BYTES:
                            break
                    if not lines:
                        read = plan.rows_in_file
                        return
                    yield object_keys.part_rows(job.account, job.id, parts), b"".join(lines)
                    parts += 1
                    read = last + 1

            deque(concurrent_map(lambda part: self.store.put(*part), next_parts()), 0)
        cut = plan.model_copy(update={"parts": parts, "rows_read": read})
        try:
            self.store.put(object_keys.plan(job.account, job.id), encode(cut), if_match=etag)
        except (PreconditionFailed, ObjectMissing):
            raise LeaseLost("another planner was faster") from None
        return cut

    def _repeated(self, job: Job, plan: Plan) -> RowBitmap:
        if not plan.repeated:
            return RowBitmap()
        return RowBitmap(self.store.get(object_keys.repeated_rows(job.account, job.id)).data)

    def _count(self, job: Job, total: int) -> None:
        """Let the job's record say how many rows there are."""
        while (now := self.ledger.record(job.id)) is not None and now.progress.total != total:
            progress = now.progress.model_copy(update={"total": total})
            if now.state.terminal or self.ledger.replace(
                now, now.model_copy(update={"progress": progress})
            ):
                return

    def _recount(self, job: Job) -> None:
        if job.metered:
            reports = self.ledger.outcomes(job.id).values()
            self.balance.recount(
                job, sum((decode(PartReport, each).usage for each in reports), Usage())
            )

    def _results(self, job: Job) -> list[int]:
        """Numbers of the parts whose results are on the store."""
        names = self.store.list(object_keys.parts(job.account, job.id))
        return [number_of(name) for name in names if name.endswith(".out")]

    def _finished(self, job: Job, results: list[int]) -> dict[int, FinishedPart]:
        """Parts with results of which the ledger, being new, knows nothing."""
        known = self.ledger.outcomes(job.id)
        unknown = [number for number in results if f"part:{number}" not in known]
        found = {}
        reports = concurrent_map(partial(report_of, self.store, job), unknown)
        for number, whole in zip(unknown, reports, strict=True):
            report = whole.short
            found[number] = FinishedPart(
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
    with store.open(object_keys.part_result(job.account, job.id, number)) as file:
        return decode(PartReport, file.readline())


def _left(
    rows: Iterator[tuple[PartRow, int]],
    first: int,
    done: RowBitmap,
    repeated: RowBitmap,
    hold: Lease,
) -> Iterator[tuple[PartRow, int]]:
    """Rows that are to be worked on, numbered, those marked whose id came before."""
    for number, (row, row_bytes) in enumerate(rows, start=first):
        if number % _EVERY == 0:
            hold.check()
        if number in done:
            continue
        row = replace(row, number=number)
        if number in repeated:
            row = replace(row, bad=DUPLICATE)
        yield row, row_bytes


def _bounded(rows: Iterator[tuple[PartRow, int]], most: int) -> Iterator[PartRow]:
    """Rows of one part: no more than `most`, and not many more bytes than a part may have."""
    size = count = 0
    while count < most and size < PART_BYTES and (found := next(rows, None)) is not None:
        row, row_bytes = found
        yield row
        size += row_bytes
        count += 1
