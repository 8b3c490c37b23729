"""Training: examples become the next version of a classifier, once, whatever is killed meanwhile.

    examples embedded → learnt on the latest version → weights and report on the store →
    record moved by compare-and-set (the version exists) → examples kept, if the owner wants it

A job that finds the record moved by another job learns again on the new latest version and keeps
the embeddings. A job that runs again finds in the record which version it made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared import object_keys
from shared.classifier_record import Classifier, check_model
from shared.classifier_requests import ImportRequest, RebuildRequest, RelabelRequest
from shared.closed_labels import check_labels
from shared.errors import Conflict, NotFound
from shared.ids import ClassifierRef
from shared.jobs import Job
from shared.limits import Limits
from shared.observation import Reference, merged
from shared.training_results import TrainResult, VersionReport
from shared.types import Example, Failure, NewClassifier, TrainRequest, Usage
from workers.classifier_cache import ClassifierCache, DraftVersion
from workers.classifier_file import TrainedClassifier, loads
from workers.embedding.items import ItemEmbedder
from workers.embedding.languages import LanguagePair
from workers.embedding.loaded_model import LoadedModel
from workers.handlers import example_store, relabel, training_set
from workers.handlers.commit_version import commit_once
from workers.handlers.example_files import ExampleFiles
from workers.handlers.training_set import TrainingSet
from workers.leases import Lease
from workers.scoring.few_shot import check_revision

_Body = TrainRequest | RebuildRequest | RelabelRequest | ImportRequest


@dataclass(frozen=True, kw_only=True)
class TrainHandler:
    """Makes versions of classifiers: trained, rebuilt with another model, imported."""

    models: Mapping[str, LoadedModel]
    limits: Limits
    classifiers: ClassifierCache
    viewer: ItemEmbedder
    example_files: ExampleFiles

    def train(self, job: Job, body: TrainRequest, hold: Lease) -> TrainResult:
        """Learn the examples of a request.

        Raises:
            InvalidRequest: They are in a file that cannot be read, or that the limits refuse; or a
                label is new where labels are closed.
            NotFound: The classifier, or the version to train further, was deleted.
            Conflict: It was learnt with another model or revision, or its name is taken.
            LabelLimitExceeded: It would have too many labels.
            TokenLimitExceeded: An example is too long.
            CancelledError: The job was cancelled, or the lease lost.
        """
        body = self.example_files.training(job, body, hold.check)
        model = self._model_of(body)
        record = self._made_before(job, body.classifier_id, new=body.create is not None)
        again = record is not None
        # Seen again by an attempt that only has to say what the one before made: what it cost.
        vectors = self._seen(job, model, body.examples, body.num_iters, hold)
        if record is None:
            if body.create is not None:
                draft = self._drafted(job, body.classifier_id, vectors, None, 0)
                record = self._first(draft, body.create, hold)
            else:
                record = self._next(
                    job,
                    body.classifier_id,
                    hold,
                    lambda now: self._further(job, now, vectors, body),
                )
        if record.keep_examples:
            examples = _learnt_by(body.examples, vectors.num_iters)
            number = record.jobs[job.id]
            example_store.keep(self.classifiers.records, record, number, examples, vectors)
        elif again:  # the attempt before may have kept them, and been killed as they were forgotten
            example_store.delete(self.classifiers.store, record, record.jobs[job.id])
        return self._result(job, record, len(body.examples), _learnt(vectors))

    def rebuild(self, job: Job, body: RebuildRequest, hold: Lease) -> TrainResult:
        """Learn all that was kept anew, by the request's model.

        Raises:
            NotFound: The classifier was deleted.
            Conflict: Not every example that it has learnt was kept.
            CancelledError: The job was cancelled, or the lease lost.
        """
        model = training_set.model_of(self.models, body.model)
        record = self._made_before(job, body.classifier_id)
        vectors: TrainingSet | None = None

        def rebuilt(now: Classifier) -> DraftVersion:
            nonlocal vectors
            vectors = self._seen(job, model, self._all_kept(now), 1, hold)
            return replace(self._drafted(job, now.id, vectors, None, 0), made_by="rebuild")

        if record is None:
            record = self._next(job, body.classifier_id, hold, rebuilt)
        if vectors is None:  # an attempt before has made the version: only its cost is not known
            examples = example_store.get(self.classifiers.store, record)
            vectors = self._seen(job, model, examples, 1, hold)
        return self._result(job, record, len(vectors.x), _learnt(vectors))

    def relabel(self, job: Job, body: RelabelRequest, hold: Lease) -> TrainResult:
        """Rename, merge or take away labels, in the examples that are kept, too.

        Raises:
            NotFound: The classifier was deleted.
            InvalidRequest: It has no such label, by now.
            InvalidLabels: Fewer than two would remain.
            Conflict: It was learnt with another revision of the model.
            CancelledError: The job was cancelled, or the lease lost.
        """
        model = training_set.model_of(self.models, body.model)
        record = self._made_before(job, body.classifier_id)
        if record is None:
            record = self._next(
                job, body.classifier_id, hold, lambda now: self._relabelled(job, now, model, body)
            )
        self._keep_changes(record, record.jobs[job.id], body)
        return self._result(job, record, 0, Usage())

    def load(self, job: Job, body: ImportRequest, hold: Lease) -> TrainResult:
        """Make a classifier from a file of weights.

        Raises:
            InvalidRequest: It is no such file, or does not fit together.
            Conflict: It is of another revision of the model, or the name is taken.
        """
        model = training_set.model_of(self.models, body.model)
        record = self._made_before(job, body.classifier_id, new=True)
        if record is None:
            trained = loads(self.classifiers.store.get(body.upload).data, limits=self.limits)
            check_revision(trained, model)
            draft = DraftVersion(
                account=job.account,
                classifier_id=body.classifier_id,
                job_id=job.id,
                made_by="import",
                trained=trained,
                report=VersionReport(labels=trained.labels, counts=trained.counts),
                samples=sum(trained.counts),
            )
            record = self._first(draft, body.create, hold)
        return self._result(job, record, record.versions[0].samples, Usage())

    def conclude(self, job: Job, body: _Body, _: Failure | None) -> TrainResult | None:
        """The result of a job that ends without one although an attempt has made its version; None
        if none has.

        Its examples are kept as a further attempt would keep them, but for their embeddings. It
        costs nothing: what it cost is known to the attempt that died.
        """
        try:
            record = self._made_before(job, body.classifier_id)
        except NotFound:
            return None
        if record is None:
            return None
        number, samples = record.jobs[job.id], 0
        if isinstance(body, TrainRequest):
            examples = self.example_files.training(job, body, lambda: None).examples
            samples = len(examples)
            if record.keep_examples:
                iters = training_set.iterations(examples, body.num_iters)
                example_store.put(
                    self.classifiers.store, record, number, _learnt_by(examples, iters)
                )
            example_store.forget_unless_kept(self.classifiers.records, record, number)
        elif isinstance(body, RelabelRequest):
            self._keep_changes(record, number, body)
        else:
            samples = sum(each.samples for each in record.versions if each.number == number)
        return self._result(job, record, samples, Usage())

    def _keep_changes(self, record: Classifier, version: int, body: RelabelRequest) -> None:
        """Keep how labels were changed, for the examples that are kept."""
        store = self.classifiers.store
        if record.keep_examples or any(store.list(object_keys.examples(record.account, record.id))):
            example_store.put_changes(store, record, version, body.labels)
            if not self._exists(record):
                example_store.delete(store, record, version)

    def _model_of(self, body: TrainRequest) -> LoadedModel:
        """The model of a request: under `auto`, that of the language of most examples.

        Raises:
            Unavailable: This process does not hold it.
        """
        model = training_set.model_of(self.models, body.model)
        other = self.models.get(body.multilingual_model or "")
        if other is None:
            return model
        pair = LanguagePair(english=model, multilingual=other)
        return pair.of_items([example.item for example in body.examples]).most

    def _made_before(self, job: Job, classifier_id: str, *, new: bool = False) -> Classifier | None:
        """The record, if an earlier attempt of the job has made its version.

        Raises:
            NotFound: There is no such classifier, and it is not to be made.
        """
        try:
            record, _ = self.classifiers.records.load(job.account, classifier_id)
        except NotFound:
            if new:
                return None
            raise
        return record if job.id in record.jobs else None

    def _first(self, draft: DraftVersion, new: NewClassifier, hold: Lease) -> Classifier:
        """The classifier with the draft as its first version."""
        hold.check()
        made = self.classifiers.create(draft, new)
        if made is not None:
            return made
        record, _ = self.classifiers.records.load(draft.account, draft.classifier_id)
        if draft.job_id not in record.jobs:
            raise Conflict("there is another classifier of this id")
        return record

    def _next(
        self, job: Job, classifier_id: str, hold: Lease, make: Callable[[Classifier], DraftVersion]
    ) -> Classifier:
        """The classifier with one more version, drafted on whatever is the latest."""
        return commit_once(self.classifiers, job.account, classifier_id, job.id, make, hold)

    def _further(
        self, job: Job, now: Classifier, vectors: TrainingSet, body: TrainRequest
    ) -> DraftVersion:
        """A draft that has learnt the lesson on top of a version."""
        base = now.latest if body.base is None else now.find(ClassifierRef(now.id, body.base, None))
        check_model(now, vectors.model.entry.name, version=base)
        before = self.classifiers.load(now.weights(base))
        if now.closed_labels:
            place = "file example" if body.file else "input"
            check_labels(
                vectors.labels, before.labels, place=lambda index: f"{place}[{index}].label"
            )
        draft = self._drafted(job, now.id, vectors, before, base.samples)
        earlier = self.classifiers.observations.reference(now.weights(base)) or Reference()
        learnt = Reference() if draft.reference is None else draft.reference
        return replace(
            draft,
            base=base,
            candidate=body.candidate,
            reference=Reference(trained=merged((earlier.trained, learnt.trained))),
        )

    def _all_kept(self, now: Classifier) -> list[Example]:
        """All examples that the latest version has learnt.

        Raises:
            Conflict: Some of them were not kept, or there are none.
        """
        examples = example_store.get(self.classifiers.store, now)
        if len(examples) != now.latest.samples or not examples:
            raise Conflict(
                f"{len(examples)} of the {now.latest.samples} examples it has learnt are kept, so "
                "it cannot be rebuilt; train a new classifier with 'keep_examples': true"
            )
        return examples

    def _relabelled(
        self, job: Job, now: Classifier, model: LoadedModel, body: RelabelRequest
    ) -> DraftVersion:
        """A draft that has learnt what the latest version has, under other labels."""
        check_model(now, model.entry.name)
        before = self.classifiers.load(now.weights(now.latest))
        trained, report = relabel.relabelled(before, body.labels, model, account=job.account)
        reference = self.classifiers.observations.reference(now.weights(now.latest))
        return DraftVersion(
            account=job.account,
            classifier_id=now.id,
            job_id=job.id,
            made_by="relabel",
            trained=trained,
            report=report,
            samples=sum(trained.counts),
            reference=reference and reference.relabelled(body.labels),
            relabelled=body.labels,
        )

    def _seen(
        self, job: Job, model: LoadedModel, examples: Sequence[Example], num_iters: int, hold: Lease
    ) -> TrainingSet:
        return training_set.see(
            self.viewer, model, examples, num_iters=num_iters, account=job.account, hold=hold
        )

    def _drafted(
        self,
        job: Job,
        classifier_id: str,
        vectors: TrainingSet,
        before: TrainedClassifier | None,
        samples: int,
    ) -> DraftVersion:
        trained, report, learnt = training_set.learn(vectors, before, self.limits)
        return DraftVersion(
            account=job.account,
            classifier_id=classifier_id,
            job_id=job.id,
            made_by="train",
            trained=trained,
            report=report,
            samples=samples + len(vectors.x),
            reference=Reference(trained=learnt),
        )

    def _exists(self, record: Classifier) -> bool:
        try:
            self.classifiers.records.load(record.account, record.id)
        except NotFound:
            return False
        return True

    def _result(self, job: Job, record: Classifier, samples: int, usage: Usage) -> TrainResult:
        number = record.jobs[job.id]
        made = next((v for v in record.versions if v.number == number), None)
        return TrainResult(
            classifier_id=record.id,
            version=number,
            num_samples=samples,
            candidate=made is not None and made.candidate,
            usage=usage,
            # Only an attempt made long ago is no longer kept: then the latest must do.
            report=self.classifiers.records.report(record, (made or record.latest).file),
        )


def _learnt_by(examples: Sequence[Example], iters: NDArray[np.intp]) -> list[Example]:
    """Examples as they are kept, with the iterations over each."""
    return [
        example.model_copy(update={"num_iters": int(count)})
        for example, count in zip(examples, iters, strict=True)
    ]


def _learnt(vectors: TrainingSet) -> Usage:
    """What the examples cost that were learnt: their tokens, once for each iteration."""
    return Usage(train_tokens=vectors.usage.total_tokens)
