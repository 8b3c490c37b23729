"""Train requests of a batch: the lines are learnt in order, each exactly once, also after kills.

A line is identified by the batch that first contained it and by its place in the file. The record
of a classifier has the identities of the lines that made its latest versions. A line that runs
again, in a second attempt of its part or in a batch that retries this one, is answered with the
version that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared import ids
from shared.batches import BadRow, BatchRequest
from shared.classifier_store import ClassifierStore
from shared.dialects import training as dialect
from shared.errors import NotFound, PigeonholeError
from shared.jobs import Job
from shared.limits import Limits
from shared.model_catalogue import Catalogue
from shared.request_resolution import train_request_of
from shared.text_fallback import TextFallback
from shared.tiers import NO_LIMITS, Tier
from shared.training_results import TrainResult
from shared.types import TrainRequest
from workers.handlers.batch.output_lines import answered_line, bad_line, not_held, refused_line
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.run_part import Lines
from workers.handlers.train import TrainHandler
from workers.leases import Lease


@dataclass(frozen=True, kw_only=True)
class TrainRequestRows:
    """Learns lines that are train requests."""

    train: TrainHandler
    records: ClassifierStore
    catalogue: Catalogue
    limits: Limits
    max_classifiers: int
    tier_of: Callable[[str], Tier] = lambda _: NO_LIMITS
    text_fallback: bool = True

    def work(self, job: Job, body: BatchRequest, rows: Sequence[PartRow], hold: Lease) -> Lines:
        """The lines of requests, in order; one that is refused is an error line.

        Raises:
            Unavailable: The store is away.
            CancelledError: The job was cancelled, or the lease lost.
        """
        lines = Lines()
        for row in rows:
            hold.check()
            learner = job.model_copy(update={"id": f"{body.origin or job.id}.{row.number}"})
            try:
                result = self._learnt(learner, row, hold)
            except PigeonholeError as exc:
                if exc.outage:
                    raise
                line = refused_line(job, row, exc)
                lines.fail(row, line, exc.code.lower(), retryable=exc.retryable)
                continue
            rendered = dialect.render(result, job_id=job.id)
            lines = lines.plus(
                Lines(
                    output=[answered_line(job, row, rendered)],
                    usage=result.usage,
                    done=[row.number],
                )
            )
        return lines

    def refuse(self, job: Job, row: PartRow, reason: BadRow) -> bytes:
        """The line of a request that was never made."""
        return bad_line(job, row, reason)

    def _learnt(self, learner: Job, row: PartRow, hold: Lease) -> TrainResult:
        request = self._asked(learner, row)
        if request.model not in self.train.models:
            raise not_held(request.model)
        if request.create is not None and not self._made(learner.account, request.classifier_id):
            most = self.tier_of(learner.account).max_classifiers(self.max_classifiers)
            self.records.check_new(learner.account, request.create, most=most)
        return self.train.train(learner, request, hold)

    def _asked(self, learner: Job, row: PartRow) -> TrainRequest:
        """What a line asks.

        Raises:
            PigeonholeError: What is wrong with it.
        """
        parsed = dialect.parse(row.body())
        request = train_request_of(
            parsed,
            account=learner.account,
            records=self.records,
            catalogue=self.catalogue,
            limits=self.limits,
            new_id=ids.classifier_id_of(learner.id),
            accepted_at=learner.created_at.timestamp(),
        )
        if parsed.create is None or parsed.model is None:
            return request
        if any(example.item.media for example in parsed.examples):
            return request
        model = TextFallback(
            catalogue=self.catalogue,
            allowed=self.text_fallback,
            offered=lambda entry: entry.name in self.train.models,
        ).model_of_texts(parsed.model)
        if model is None:
            return request
        return request.model_copy(update={"model": self.catalogue.find(model).name})

    def _made(self, account: str, classifier_id: str) -> bool:
        """Whether an earlier attempt has made the classifier of the line."""
        try:
            self.records.load(account, classifier_id)
        except NotFound:
            return False
        return True
