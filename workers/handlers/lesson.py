"""Examples on their way into a learner: tokens, vectors, labels, and how much each counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Conflict, DeadlineExceeded, Unavailable
from shared.limits import Limits
from shared.types import Example, Priority, Progressive, Remark, Usage, VersionReport
from workers.core.learner import Learner, Report
from workers.core.remarks import remarks
from workers.embedding import Model
from workers.labels import embed_labels, scale_of
from workers.leases import Hold
from workers.models.port import Rows
from workers.weights import Trained

PART_LIMIT_S = 3600.0  # far above any part; a hung forward pass is the watchdog's to end
# Fewer examples than this are a caller who waits; more go behind those who wait to classify.
_SMALL = 256
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Reading:
    """N examples as tokens. `usage` counts each example's once for each iteration."""

    model: Model
    examples: Sequence[Example]
    tokens: list[list[int]]
    num_iters: NDArray[np.intp]  # (N,)
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """N examples as vectors. `labels` (N,), None where an example has none."""

    model: Model
    x: Rows  # (N, D)
    labels: tuple[str | None, ...]
    num_iters: NDArray[np.intp]  # (N,)
    weights: NDArray[np.float64]  # (N,)


def model_of(models: Mapping[str, Model], name: str) -> Model:
    """The loaded model of the name.

    Raises:
        Unavailable: This process does not hold it.
    """
    model = models.get(name)
    if model is None:
        raise Unavailable(f"this worker does not hold {name}", retry_after_s=5)
    return model


def read(model: Model, examples: Sequence[Example], *, num_iters: int, limits: Limits) -> Reading:
    """Tokenise examples; `num_iters` is for those that do not say.

    Raises:
        TokenLimitExceeded: An example is too long.
    """
    tokens = model.embedder.tokenise([example.item.text for example in examples])
    for index, ids in enumerate(tokens):
        limits.check_tokens(index, len(ids))
    iters = np.array([example.num_iters or num_iters for example in examples], np.intp)
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    return Reading(
        model=model,
        examples=examples,
        tokens=tokens,
        num_iters=iters,
        usage=Usage(input_tokens=int(lengths @ iters)),
    )


def embed(reading: Reading, hold: Hold) -> Lesson:
    """Send the examples through the model, however long it takes; the end of the lease stops it.

    Raises:
        CancelledError: The lease ended.
        Unavailable: The model has stopped.
    """
    vectors = reading.model.embedder.embed(
        reading.tokens, priority=_priority(len(reading.tokens)), deadline=None
    )
    hold.on_end(vectors.cancel)
    return Lesson(
        model=reading.model,
        x=wait(vectors),
        labels=tuple(example.label for example in reading.examples),
        num_iters=reading.num_iters,
        weights=np.array([example.weight for example in reading.examples], np.float64),
    )


def learn(lesson: Lesson, before: Trained | None, limits: Limits) -> tuple[Trained, VersionReport]:
    """What the examples make of what was learnt before, and how it went.

    Raises:
        Conflict: It was learnt with another revision of the model.
        LabelLimitExceeded: There would be too many labels.
    """
    model, given = lesson.model, [label for label in lesson.labels if label is not None]
    known = () if before is None else before.labels
    fresh = tuple(label for label in dict.fromkeys(given) if label not in set(known))
    limits.check_classifier_labels(len(known) + len(fresh))
    learner = grown(before, fresh, model)
    place = {label: index for index, label in enumerate(learner.labels)}
    y = np.array([place[label] for label in given], np.intp)
    learner, seen = learner.learn(lesson.x, y, weights=lesson.weights, iters=lesson.num_iters)
    counts = np.zeros(len(learner.labels), np.int64)
    counts[: len(known)] = () if before is None else before.counts
    counts += np.bincount(y, minlength=len(counts))
    found = remarks(learner.labels, learner.prior, lesson.x, y, counts.astype(np.float64))
    trained = Trained(
        model=model.entry.name,
        revision=model.embedder.encoder.revision,
        counts=tuple(counts.tolist()),
        learner=learner,
    )
    report = VersionReport(
        labels=learner.labels,
        counts=trained.counts,
        progressive=_progressive(seen),
        remarks=tuple(
            Remark(kind=r.kind, labels=r.labels, items=r.items, value=r.value) for r in found
        ),
    )
    return trained, report


def grown(before: Trained | None, fresh: Sequence[str], model: Model) -> Learner:
    """The learner with more labels, started where there was none.

    Raises:
        Conflict: It was learnt with another revision of the model.
    """
    if before is not None:
        check_revision(before, model)
        if not fresh:
            return before.learner
    prior = wait(embed_labels(model, fresh, priority=Priority.STANDARD))  # (L, D)
    if before is None:
        return Learner.start(fresh, prior, scale_of(model))
    return before.learner.grow(fresh, prior)


def check_revision(trained: Trained, model: Model) -> None:
    """Refuse vectors that are not those of the classifier.

    Raises:
        Conflict: The weights are of another revision, or of other dimensions.
    """
    encoder = model.embedder.encoder
    if (trained.revision, trained.dimensions) != (encoder.revision, encoder.dimensions):
        raise Conflict(
            f"the classifier was trained with {trained.model} at revision {trained.revision} "
            f"({trained.dimensions} dimensions); here it is at revision {encoder.revision} "
            f"({encoder.dimensions} dimensions): rebuild the classifier, or train a new one"
        )


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


def _progressive(report: Report) -> Progressive:
    return Progressive(
        accuracy=round(report.accuracy, _DECIMALS),
        log_loss=round(report.log_loss, _DECIMALS),
        curve=tuple((seen, round(share, _DECIMALS)) for seen, share in report.curve),
        trust={name: round(share, _DECIMALS) for name, share in report.trust.items()},
        label_strength=round(report.strength, _DECIMALS),
    )
