"""The training set: vectors, labels and weights of examples on their way to the learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import (
    DeadlineExceeded,
    FieldError,
    InvalidRequest,
    PigeonholeError,
    Unavailable,
)
from shared.limits import Limits
from shared.normal_form import LabelSpellings
from shared.observation import Observation
from shared.training_results import (
    ProgressiveEvaluation,
    TrainingWarning,
    VersionReport,
)
from shared.types import Example, FileReading, Item, Priority, Usage
from workers.classifier_file import TrainedClassifier
from workers.core.data_warnings import DataWarning as Finding
from workers.core.data_warnings import remarks
from workers.core.learner import Learner, LearningReport
from workers.core.observation_sums import observed
from workers.embedding.items import ItemEmbedder
from workers.embedding.labels import embed_labels, scale_of
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pooling import mean
from workers.leases import Lease
from workers.models.port import Rows
from workers.scoring.few_shot import check_revision
from workers.work_context import WorkContext

PART_LIMIT_S = 3600.0  # far above any part; a hung forward pass is the watchdog's to end
# Fewer examples than this are a caller who waits; more go behind those who wait to classify.
_SMALL = 256
_AT_ONCE = 4096  # examples on their way: what is read of images and documents takes memory
_MAX_NAMED = 20
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """N examples as vectors. `labels` (N,), None where an example has none.

    `usage` counts the tokens of each example once for each iteration.
    """

    model: LoadedModel
    account: str
    x: Rows  # (N, D)
    of_images: bool
    labels: tuple[str | None, ...]
    num_iters: NDArray[np.intp]  # (N,)
    weights: NDArray[np.float64]  # (N,)
    usage: Usage


def model_of(models: Mapping[str, LoadedModel], name: str) -> LoadedModel:
    """The loaded model of the name.

    Raises:
        Unavailable: This process does not hold it.
    """
    model = models.get(name)
    if model is None:
        raise Unavailable(f"this worker does not hold {name}", retry_after_s=5)
    return model


def iterations(examples: Sequence[Example], num_iters: int) -> NDArray[np.intp]:
    """How often each example is learnt, (N,); `num_iters` is for those that do not say."""
    return np.array([example.num_iters or num_iters for example in examples], np.intp)


def usage_of(tokens: Sequence[int], iters: NDArray[np.intp]) -> Usage:
    """What examples cost: their tokens, once for each iteration."""
    return Usage(input_tokens=int(np.array(tokens, np.int64) @ iters))


def see(
    viewer: ItemEmbedder,
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    num_iters: int,
    account: str,
    hold: Lease,
) -> TrainingSet:
    """Send the examples of an account through the model; the end of the lease stops it.

    Raises:
        TokenLimitExceeded: A text is too long.
        InvalidRequest: An image or document could not be read; names each, up to some.
        CancelledError: The lease ended.
        Unavailable: The model has stopped.
    """
    rows: list[Rows] = []
    tokens: list[int] = []
    images = 0
    failed: list[FieldError] = []
    context = WorkContext(priority=_priority(len(examples)), account=account)
    for first in range(0, len(examples), _AT_ONCE):
        items = [example.item for example in examples[first : first + _AT_ONCE]]
        looked = viewer.look(model, items, FileReading(), context)
        hold.on_end(looked.cancel)
        views = wait(looked)
        failed += [_unread(first + i, items[i], error) for i, error in views.failed.items()]
        if failed:
            continue  # what else is wrong is said in one go
        tokens += views.tokens
        images += int(views.of_images.sum())
        rows.append(
            views.x
            if views.items is None
            else np.stack([mean(views.x[list(group)]) for group in views.items])
        )
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise InvalidRequest(
            f"{failed[0].field}: {failed[0].message}{more}", fields=tuple(failed[:_MAX_NAMED])
        )
    iters = iterations(examples, num_iters)
    return TrainingSet(
        model=model,
        account=account,
        x=np.concatenate(rows),
        of_images=2 * images > len(examples),
        labels=tuple(example.label for example in examples),
        num_iters=iters,
        weights=np.array([example.weight for example in examples], np.float64),
        usage=usage_of(tokens, iters),
    )


def _unread(index: int, item: Item, error: PigeonholeError) -> FieldError:
    what = "image" if item.images else "file"
    return FieldError(field=f"input[{index}].{what}", message=error.detail)


def learn(
    lesson: TrainingSet, before: TrainedClassifier | None, limits: Limits
) -> tuple[TrainedClassifier, VersionReport, Observation]:
    """What the examples make of what was learnt before, how it went, and the sums over the
    examples, each predicted before it was learnt.

    Raises:
        Conflict: It was learnt with another revision of the model.
        LabelLimitExceeded: There would be too many labels.
    """
    model, known = lesson.model, () if before is None else before.labels
    spellings = LabelSpellings(known)
    given = [spellings.add(label) for label in lesson.labels if label is not None]
    fresh = tuple(spellings)[len(known) :]
    limits.check_classifier_labels(len(known) + len(fresh))
    learner = grown(before, fresh, model, account=lesson.account, images=lesson.of_images)
    place = {label: index for index, label in enumerate(learner.labels)}
    y = np.array([place[label] for label in given], np.intp)
    learner, seen = learner.learn(lesson.x, y, weights=lesson.weights, iters=lesson.num_iters)
    counts = np.zeros(len(learner.labels), np.int64)
    counts[: len(known)] = () if before is None else before.counts
    counts += np.bincount(y, minlength=len(counts))
    found = remarks(learner.labels, learner.prior, lesson.x, y, counts.astype(np.float64))
    trained = TrainedClassifier(
        model=model.entry.name,
        revision=model.embedder.encoder.revision,
        counts=tuple(counts.tolist()),
        learner=learner,
    )
    report = VersionReport(
        labels=learner.labels,
        counts=trained.counts,
        progressive=_progressive(seen),
        remarks=remarks_of(found),
    )
    return trained, report, observed(learner.labels, lesson.x, seen.scores)


def remarks_of(found: Sequence[Finding]) -> tuple[TrainingWarning, ...]:
    """What was found of examples and labels, as it is stored."""
    return tuple(
        TrainingWarning(kind=r.kind, labels=r.labels, items=r.items, value=r.value) for r in found
    )


def grown(
    before: TrainedClassifier | None,
    fresh: Sequence[str],
    model: LoadedModel,
    *,
    account: str = "",
    images: bool = False,
) -> Learner:
    """The learner with more labels, started where there was none: for texts, or for images.

    Raises:
        Conflict: It was learnt with another revision of the model.
    """
    if before is not None:
        check_revision(before, model)
        if not fresh:
            return before.learner
    context = WorkContext(priority=Priority.STANDARD, account=account)
    prior = wait(embed_labels(model, fresh, context, images=images))  # (L, D)
    if before is None:
        return Learner.start(fresh, prior, scale_of(model, images=images))
    return before.learner.grow(fresh, prior)


def wait(future: Future[Any]) -> Any:
    """The result of a future of the model's.

    Raises:
        DeadlineExceeded: It did not come within the time of any part.
    """
    try:
        return future.result(PART_LIMIT_S)
    except TimeoutError:
        raise DeadlineExceeded("the model did not answer in time") from None


def _priority(examples: int) -> Priority:
    return Priority.STANDARD if examples <= _SMALL else Priority.BULK


def _progressive(report: LearningReport) -> ProgressiveEvaluation:
    return ProgressiveEvaluation(
        accuracy=round(report.accuracy, _DECIMALS),
        log_loss=round(report.log_loss, _DECIMALS),
        curve=tuple((seen, round(share, _DECIMALS)) for seen, share in report.curve),
        trust={name: round(share, _DECIMALS) for name, share in report.trust.items()},
        label_strength=round(report.strength, _DECIMALS),
    )
