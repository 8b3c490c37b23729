"""Evaluation: the metrics and plots of one version of a classifier on labelled examples.

The result is stored with the version under the hash of the examples, so the same examples are
embedded and charged once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from shared import object_keys
from shared.errors import ObjectMissing
from shared.evaluation_results import EvaluateResult, LabelQuality, ReliabilityBin, UncertainItem
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import decode, encode
from shared.normal_form import LabelSpellings
from shared.ports import ObjectStore
from shared.types import ClassifierVersion, EvaluateRequest, Example, Usage
from workers import plots
from workers.classifier_cache import ClassifierCache
from workers.core import evaluation
from workers.core.calibration import expected_calibration_error
from workers.embedding.items import ItemEmbedder
from workers.embedding.loaded_model import LoadedModel
from workers.handlers import training_set
from workers.handlers.example_files import ExampleFiles
from workers.leases import Lease
from workers.scoring.few_shot import check_revision

_MAX_WORTH = 50  # items listed as worth labelling
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class EvaluateHandler:
    """Judges classifiers with the models of this process."""

    models: Mapping[str, LoadedModel]
    limits: Limits
    classifiers: ClassifierCache
    viewer: ItemEmbedder
    store: ObjectStore
    example_files: ExampleFiles

    def run(self, job: Job, body: EvaluateRequest, hold: Lease) -> EvaluateResult:
        """Score the examples, compare with their labels, draw.

        Examples without a label are only ranked by how unsure the classifier is of them. An
        example of a label that the version does not know counts as wrong, and the label has a row
        of its own, so that versions can be compared while labels grow.

        Raises:
            InvalidRequest: They are in a file that cannot be read, or that the limits refuse.
            LabelLimitExceeded: The labels known and unknown are more than a classifier may have.
            NotFound: The version is no longer kept.
            Conflict: It was learnt with another revision of the model.
            CancelledError: The job was cancelled, or the lease lost.
        """
        body = self.example_files.evaluation(job, body, hold.check)
        digest = _digest(body.examples)
        result = self._kept(body.classifier, digest)
        if result is None:
            result = self._judged(job, body, hold)
            self.store.put(_place(body.classifier, digest), encode(result))
        labels = tuple(each.label for each in result.labels)
        drawn = {
            **plots.confusion_matrix(labels, np.array(result.confusion, np.intp)),
            **plots.reliability(_reliability(result.reliability), result.calibration_error),
        }
        for file, data in drawn.items():
            self.store.put(object_keys.plot(job.account, job.id, file), data)
        return result.model_copy(update={"plots": tuple(drawn)})

    def _kept(self, classifier: ClassifierVersion, digest: str) -> EvaluateResult | None:
        """The result of an earlier evaluation on the same examples, which costs nothing."""
        with suppress(ObjectMissing):
            found = decode(EvaluateResult, self.store.get(_place(classifier, digest)).data)
            # The version is that of the request: a rollback shares the file of its origin.
            return found.model_copy(update={"usage": Usage(), "version": classifier.version})
        return None

    def _judged(self, job: Job, body: EvaluateRequest, hold: Lease) -> EvaluateResult:
        model = training_set.model_of(self.models, body.model)
        trained = training_set.wait(self.classifiers.of(body.classifier))
        check_revision(trained, model)
        spellings = LabelSpellings(trained.labels)
        given = [spellings.add(e.label) for e in body.examples if e.label is not None]
        labels = tuple(spellings)  # L that the version knows, then U that it does not
        self.limits.check_classifier_labels(len(labels))
        place = {label: index for index, label in enumerate(labels)}
        seen = training_set.see(
            self.viewer, model, body.examples, num_iters=1, account=job.account, hold=hold
        )
        scores = trained.scores(seen.x)  # (N, L)
        known = np.array([example.label is not None for example in body.examples])  # (N,)
        y = np.array([place[label] for label in given], np.intp)
        p = scores[known]  # (M, L)
        confusion = evaluation.confusion(y, p.argmax(axis=1), len(labels))  # (L + U, L + U)
        quality = evaluation.quality(confusion)
        reliability = evaluation.reliability(p, y)
        error = expected_calibration_error(p, y)
        truth = np.eye(len(labels), dtype=np.bool_)[y][:, : len(trained.labels)]  # (M, L)
        thresholds = np.full(len(labels), evaluation.NO_THRESHOLD, np.float32)  # (L + U,)
        thresholds[: len(trained.labels)] = evaluation.tuned_thresholds(p, truth)
        return EvaluateResult(
            classifier_id=body.classifier.classifier_id,
            version=body.classifier.version,
            num_samples=len(y),
            usage=seen.usage,
            accuracy=_short(quality.accuracy),
            macro_f1=_short(quality.macro_f1),
            micro_f1=_short(quality.micro_f1),
            calibration_error=_short(error),
            labels=tuple(
                LabelQuality(
                    label=label,
                    precision=_short(quality.precision[k]),
                    recall=_short(quality.recall[k]),
                    f1=_short(quality.f1[k]),
                    support=int(quality.support[k]),
                    threshold=_short(thresholds[k]),
                )
                for k, label in enumerate(labels)
            ),
            confusion=tuple(tuple(row) for row in confusion.tolist()),
            reliability=reliability.bins(),
            worth_labelling=_worth_labelling(scores, known, labels),
        )


def _place(classifier: ClassifierVersion, digest: str) -> str:
    return object_keys.evaluation(
        classifier.account, classifier.classifier_id, classifier.file, digest
    )


def _digest(examples: Sequence[Example]) -> str:
    """The hash of examples and their labels, in order."""
    found = hashlib.sha256()
    for each in examples:
        found.update(each.model_dump_json(include={"item", "label"}).encode() + b"\n")
    return found.hexdigest()


def _reliability(bins: Sequence[ReliabilityBin]) -> evaluation.Reliability:
    return evaluation.Reliability(
        edges=np.array([each.upper for each in bins]),
        confidence=np.array([each.confidence for each in bins]),
        accuracy=np.array([each.accuracy for each in bins]),
        counts=np.array([each.count for each in bins], np.intp),
    )


def _worth_labelling(
    scores: evaluation.Floats,
    known: np.ndarray[tuple[int], np.dtype[np.bool_]],
    labels: tuple[str, ...],
) -> tuple[UncertainItem, ...]:
    """The items without a label, or all where each has one, the least sure first."""
    margins = evaluation.margins(scores)
    wanted = ~known if not known.all() else known
    order = [int(i) for i in evaluation.most_worth_labelling(scores) if wanted[i]]
    return tuple(
        UncertainItem(
            index=i,
            prediction=labels[int(scores[i].argmax())],
            score=_short(scores[i].max()),
            margin=_short(margins[i]),
        )
        for i in order[:_MAX_WORTH]
    )


def _short(number: float) -> float:
    return round(float(number), _DECIMALS)
