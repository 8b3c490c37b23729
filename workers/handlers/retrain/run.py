"""One run of a classifier's retraining, once, whatever is killed meanwhile.

    collected rows on the store → challenger as a candidate version → decision on the store →
    alias moved by compare-and-set → snapshot, then the state that names it → record of the run

A run that is run again finds what it left and goes on from there. What a run consumed counts from
the moment the state moves: a run that fails leaves everything to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from shared import service_clock
from shared.classifier_record import Classifier
from shared.errors import (
    Conflict,
    NotFound,
    Unavailable,
    WorkFailed,
)
from shared.ids import ClassifierRef
from shared.jobs import Job
from shared.limits import Limits
from shared.observation import Observation, Reference
from shared.ports import Buckets
from shared.promotion import live_version
from shared.retraining import (
    ENDED,
    Decision,
    RetrainingRecord,
    RetrainingSettings,
    RetrainRequest,
    RetrainResult,
    Run,
    RunProgress,
    RunStatus,
)
from shared.retraining_store import RetrainingStore
from shared.types import ClassifierVersion, Usage
from workers.classifier_cache import ClassifierCache, DraftVersion
from workers.core.promotion_gate import Verdict
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.handlers import example_store
from workers.handlers.commit_version import commit_once
from workers.handlers.example_files import ExampleFiles
from workers.handlers.kept_embeddings import KeptEmbeddings
from workers.handlers.retrain.collect import (
    Collected,
    Collector,
    collected_before,
    missing_labels,
    put_collected,
    readable,
)
from workers.handlers.retrain.conclude import Conclusion, resolved
from workers.handlers.retrain.embedder import RunEmbedder
from workers.handlers.retrain.holdout_scores import HoldoutScores
from workers.handlers.retrain.label_names import LabelNames
from workers.handlers.retrain.method import Challenger, Method, TrainingNight, subsets
from workers.handlers.retrain.rebuild import Rebuild
from workers.handlers.retrain.snapshot import NewRow, Snapshot, SnapshotStore
from workers.handlers.retrain.unfinished import run_of
from workers.handlers.retrain.update import Update
from workers.leases import Lease
from workers.models.port import Rows

_SEED = 20_260_101  # of the bootstrap: a run that is run again decides the same
_ROWS_AT_ONCE = 512  # embedded before the record of the run says how far it is
_WAIT_S = 5  # until a run looks again whether the one before it has ended


@dataclass(frozen=True, kw_only=True)
class RetrainHandler:
    """Runs retrainings with the models of this process."""

    models: Mapping[str, LoadedModel]
    limits: Limits
    classifiers: ClassifierCache
    viewer: ItemEmbedder
    example_files: ExampleFiles
    buckets: Buckets

    def run(self, job: Job, body: RetrainRequest, hold: Lease) -> RetrainResult:
        """Do one run.

        Raises:
            NotFound: The classifier or its retraining was deleted.
            InvalidRequest: A source cannot be read, or more than a tenth of its rows is bad.
            Unavailable: Another run of the classifier has not ended, or a server is away.
            WorkFailed: An earlier attempt has failed or was cancelled.
            CancelledError: The job was cancelled, or the lease lost.
        """
        store = RetrainingStore(store=self.classifiers.store)
        record, _ = store.load(job.account, body.classifier_id)
        run = run_of(store, job, body)
        if run.status in {"failed", "cancelled"}:  # Redis was lost before the job had ended
            raise WorkFailed(run.error or "the run was cancelled")
        if run.status in ENDED:
            return RetrainResult(classifier_id=run.classifier_id, run=run, usage=Usage())
        try:
            store.begin(job.account, body.classifier_id, run.id)
        except Conflict as exc:  # of two that were accepted at once, one waits
            raise Unavailable(exc.detail, retry_after_s=_WAIT_S) from exc
        return _Night(self, store, record, run, hold).work()


class _Night:
    """One run as it proceeds."""

    def __init__(
        self,
        handler: RetrainHandler,
        store: RetrainingStore,
        record: RetrainingRecord,
        run: Run,
        hold: Lease,
    ) -> None:
        self._handler = handler
        self._store = store
        self._settings = record.settings
        self._run = run
        self._hold = hold
        self._snapshots = SnapshotStore(
            store=store.store, account=run.account, classifier_id=run.classifier_id
        )
        self._embedder = RunEmbedder(
            models=handler.models,
            viewer=handler.viewer,
            account=run.account,
            num_iters=self._settings.num_iters,
            hold=hold,
            records=handler.classifiers.records,
            kept=KeptEmbeddings(
                store=store.store, account=run.account, classifier_id=run.classifier_id
            ),
        )

    def work(self) -> RetrainResult:
        """All phases that are left."""
        self._phase("collecting")
        record, _ = self._handler.classifiers.records.load(
            self._run.account, self._run.classifier_id
        )
        collected, snapshot = self._collected(record)
        vectors: dict[str, Rows] = {}
        if self._run.decision is None:  # else the run has its counts, with what it has learnt
            self._change(
                counts=collected.counts, bad_rows=collected.bad_rows, champion=collected.champion
            )
            fresh = collected.counts.new + collected.counts.held_out
            least = self._settings.minimum_new_examples
            if fresh < least or not (collected.new or collected.rejected):
                reason = f"{fresh} new examples; at least {least} are needed"
                self._change(decision=Decision(outcome="skip", reasons=(reason,)))
            else:
                vectors = self._decide(record, collected, snapshot)
        self._hold.check()
        self._conclude(collected, replace(snapshot, vectors=vectors))
        return RetrainResult(
            classifier_id=self._run.classifier_id, run=self._run, usage=self._embedder.usage
        )

    def _conclude(self, collected: Collected, snapshot: Snapshot) -> None:
        self._run = Conclusion(
            classifiers=self._handler.classifiers,
            store=self._store,
            snapshots=self._snapshots,
            settings=self._settings,
            collected=collected,
            snapshot=snapshot,
        ).apply(self._run, now=self._now())

    def _collected(self, record: Classifier) -> tuple[Collected, Snapshot]:
        """What the run works on: as an earlier attempt has collected it, or collected now."""
        found = collected_before(self._store.store, self._run)
        if found is None:
            return self._collect(record)
        champion = record.find(ClassifierRef(record.id, found.champion, None))
        snapshot = self._snapshots.load(found.base)
        return found, LabelNames.of(record, champion).of_snapshot(snapshot)

    def _collect(self, record: Classifier) -> tuple[Collected, Snapshot]:
        store = self._store.store
        base = self._store.state(self._run.account, self._run.classifier_id).snapshot
        champion = live_version(record, self._settings.alias)
        names = LabelNames.of(record, champion)
        snapshot = names.of_snapshot(self._snapshots.load(base))
        collector = Collector(
            store=store,
            buckets=self._handler.buckets,
            files=self._handler.example_files,
            account=self._run.account,
            classifier_id=self._run.classifier_id,
            settings=self._settings,
            model=champion.model,
            labels=record.labels,
            closed_labels=record.closed_labels,
            check=self._hold.check,
            names=names,
        )
        rejected, live, set_aside = resolved(snapshot.rejected, champion, self._run_of)
        collected = collector.collect(snapshot, base=base, champion=champion.number)
        collected = readable(
            collected.model_copy(
                update={
                    "rejected": rejected,
                    "live": live,
                    "set_aside": set_aside,
                    "counts": collected.counts.model_copy(
                        update={"rejected_before": len(rejected), "set_aside": len(set_aside)}
                    ),
                }
            ),
            self._unreadable(champion.model, (*collected.new, *collected.held_out)),
        )
        collected = put_collected(store, self._run, collected)
        return collected, snapshot

    def _run_of(self, run_id: str) -> Run | None:
        with suppress(NotFound):
            return self._store.run(self._run.account, self._run.classifier_id, run_id)
        return None

    def _unreadable(self, model: str, rows: Sequence[NewRow]) -> dict[str, str]:
        """Which rows cannot be embedded; the record of the run says how many are done."""
        unreadable: dict[str, str] = {}
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            self._change(progress=RunProgress(total=len(rows), completed=start))
            unreadable |= self._embedder.unreadable(model, rows[start : start + _ROWS_AT_ONCE])
        self._change(progress=RunProgress(total=len(rows), completed=len(rows)))
        return unreadable

    def _decide(
        self, record: Classifier, collected: Collected, snapshot: Snapshot
    ) -> dict[str, Rows]:
        """Train, judge and decide; the decision is stored before anything moves.

        Returns:
            The embeddings of the holdout, to be kept.
        """
        self._phase("training")
        settings, classifiers = self._settings, self._handler.classifiers
        version = record.find(ClassifierRef(record.id, collected.champion, None))
        champion = classifiers.load(record.weights(version))
        rows = collected.fixed_holdout or (*snapshot.holdout, *collected.held_out)
        # Kept embeddings are those of the rows before, in their order.
        base = None if collected.fixed_holdout or snapshot.shortened else collected.base
        scores = HoldoutScores(
            rows=rows,
            embed=self._embedder.embed,
            kept=lambda key: self._snapshots.vectors(base, key),
        )
        night = TrainingNight(
            record=record,
            version=version,
            champion=champion,
            model=settings.model or champion.model,
            rows=(),
            rejected_rows="none",
            holdout=frozenset(row.digest for row in rows),
            embed=self._embedder.embed,
            embed_kept=self._embedder.embed_kept,
            limits=self._handler.limits,
            observed=self._learnt(record.weights(version)),
        )
        challengers = []
        for method in self._methods():
            for name, some in subsets(collected.new, tuple(r.row for r in collected.rejected)):
                self._hold.check()
                challengers.append(method.challenge(replace(night, rows=some, rejected_rows=name)))
        self._phase("evaluating")
        if not rows:
            best, verdict = challengers[0], None
        else:
            best = max(
                challengers, key=lambda each: scores.value(settings.gate, champion, each.trained)
            )
            verdict = scores.compare(settings.gate, champion, best.trained, seed=_SEED)
            self._store.put_comparison(self._run, verdict.comparison)
        decision = _decision(settings, verdict)
        self._hold.check()
        self._phase("deciding")
        reference = Reference(
            trained=best.learnt, judged=scores.observed(best.trained) if rows else Observation()
        )
        number = None if self._run.dry_run else self._candidate(best, reference)
        self._change(
            challenger=number,
            method=best.method,
            rejected_rows=best.night.rejected_rows,
            counts=self._run.counts.model_copy(update={"learnt": len(best.night.rows)}),
            new_labels=best.trained.labels[len(champion.labels) :]
            if best.method == Update.name
            else tuple(set(best.trained.labels) - set(champion.labels)),
            missing_labels=missing_labels(champion, (*collected.new, *collected.held_out)),
            label_agreement=scores.agreement(
                champion,
                collected.new,
                before=len(collected.fixed_holdout or snapshot.holdout),
            ),
            metrics=verdict and verdict.metrics,
            test=verdict and verdict.test,
            decision=decision,
        )
        return scores.vectors if not collected.fixed_holdout else {}

    def _methods(self) -> list[Method]:
        store = self._store.store
        made: dict[str, Method] = {"update": Update(), "rebuild": Rebuild(store=store)}
        wanted = made if self._settings.method == "both" else [self._settings.method]
        return [made[name] for name in wanted]

    def _learnt(self, version: ClassifierVersion) -> Observation:
        """The sums over the examples that a version has learnt, as far as they are known."""
        reference = self._handler.classifiers.observations.reference(version)
        return Observation() if reference is None else reference.trained

    def _candidate(self, best: Challenger, reference: Reference) -> int:
        """The number of the version that the challenger is; made once for the run."""
        night = best.night
        draft = DraftVersion(
            account=self._run.account,
            classifier_id=self._run.classifier_id,
            job_id=self._run.job_id,
            made_by="retrain",
            trained=best.trained,
            report=best.report,
            samples=night.version.samples + len(night.rows),
            reference=reference,
            base=night.version,
            candidate=True,
        )
        record = commit_once(
            self._handler.classifiers,
            self._run.account,
            self._run.classifier_id,
            self._run.job_id,
            lambda _: draft,
            self._hold,
        )
        number = record.jobs[self._run.job_id]
        if record.keep_examples:
            iters = self._settings.num_iters
            examples = [
                row.example.model_copy(update={"num_iters": row.example.num_iters or iters})
                for row in night.rows
            ]
            vectors = self._embedder.embed(best.trained.model, examples)
            records = self._handler.classifiers.records
            example_store.keep(records, record, number, examples, vectors)
        return number

    def _phase(self, status: RunStatus) -> None:
        self._hold.check()
        if self._run.status != status:
            self._change(status=status)

    def _change(self, **changes: Any) -> None:
        changed = self._run.model_copy(update=changes)
        if changed != self._run:
            self._run = self._store.put_run(changed)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(service_clock.now(), UTC)


def _decision(settings: RetrainingSettings, verdict: Verdict | None) -> Decision:
    """What becomes of a challenger that the gate has judged; None: there was no holdout."""
    if settings.promote == "always":
        reasons = verdict.reasons if verdict else ()
        return Decision(outcome="promote", reasons=("promote is `always`", *reasons))
    if verdict is None:
        reason = "the holdout has no examples yet, so that nothing can be compared"
        return Decision(outcome="reject", reasons=(reason,))
    if not verdict.passed:
        return Decision(outcome="reject", reasons=verdict.reasons)
    outcome = "ask" if settings.promote == "ask" else "promote"
    return Decision(outcome=outcome, reasons=verdict.reasons)
