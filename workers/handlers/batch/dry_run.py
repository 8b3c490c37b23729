"""A dry run: the input of a batch is validated as planning does, and its cost is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.batches import TRAIN, DryRunRequest, DryRunResult
from shared.errors import InvalidRequest
from shared.jobs import Job
from shared.limits import Limits
from shared.member_reports import WorkerReport
from shared.messages import failure_of
from shared.ports import Ledger
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.batch.estimate import Forecast
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.row_bitmap import RowBitmap
from workers.handlers.batch.validate_input import judge
from workers.handlers.training_set import model_of
from workers.leases import Lease

WORKER = "worker"


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """Tries batches."""

    reader: Reader
    models: Mapping[str, LoadedModel]
    limits: Limits
    ledger: Ledger

    def run(self, job: Job, body: DryRunRequest, hold: Lease) -> DryRunResult:
        """What would become of the batch.

        Raises:
            Unavailable: This process does not hold the model, or the store is away.
            CancelledError: The job was cancelled, or the lease lost.
        """
        request = body.batch
        ask = None if request.rows is None else request.rows.ask
        model = model_of(self.models, body.model if ask is None else ask.model)
        forecast = Forecast.of(request, model, models=self.models, limits=self.limits)
        try:
            judged = judge(
                self.reader,
                job,
                request,
                limits=self.limits,
                done=RowBitmap(),
                check=hold.check,
                see=forecast.sample.see,
            )
        except InvalidRequest as exc:
            return DryRunResult(error=failure_of(exc))
        tokens = forecast.tokens(judged)
        speed = self._tokens_per_s(model.entry.name)
        # Both take longer than their tokens say.
        slower = request.endpoint == TRAIN or (ask is not None and ask.compares_pairs)
        return DryRunResult(
            format=judged.format,
            total=judged.total,
            bad_count=judged.bad_count,
            bad=judged.bad,
            tokens=tokens,
            sampled=len(forecast.sample.rows),
            exact=forecast.exact,
            seconds=None if speed is None or slower else round(tokens / speed, 1),
        )

    def _tokens_per_s(self, model: str) -> float | None:
        """How fast all living workers are together; None if none has done enough of late."""
        reports = self.ledger.reports(WORKER).values()
        workers = [WorkerReport.model_validate_json(report) for report in reports]
        holders = [worker for worker in workers if model in worker.models]
        known = [speed for each in holders if (speed := each.tokens_per_s.get(model))]
        return sum(known) / len(known) * len(holders) if known else None
