"""Relabelling: labels of a classifier are renamed, merged or removed without its examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.relabelling import Changes, Relabelling
from shared.training_results import VersionReport
from shared.types import Priority
from workers.classifier_file import TrainedClassifier
from workers.core.data_warnings import remarks
from workers.core.relabel import relabelled as learner_of
from workers.embedding.labels import embed_labels, scale_of
from workers.embedding.loaded_model import LoadedModel
from workers.handlers.training_set import remarks_of, wait
from workers.models.port import Rows
from workers.scoring.few_shot import check_revision
from workers.work_context import WorkContext


def relabelled(
    before: TrainedClassifier, changes: Changes, model: LoadedModel, *, account: str
) -> tuple[TrainedClassifier, VersionReport]:
    """What the changes make of a classifier, and what is known of it.

    New names are embedded, since scores lean on what labels mean.

    Raises:
        InvalidRequest: It has no label of the name.
        InvalidLabels: Fewer than two labels would remain.
        Conflict: It was learnt with another revision of the model.
    """
    check_revision(before, model)
    after = Relabelling.of(before.labels, changes)
    counts = np.zeros(len(after.labels), np.int64)
    for count, place in zip(before.counts, after.place, strict=True):
        if place is not None:
            counts[place] += count
    learner = learner_of(
        before.learner,
        after.labels,
        _prior(before, after.labels, model, account),
        after.place,
        seen=int(counts.sum()),
    )
    trained = replace(before, counts=tuple(counts.tolist()), learner=learner)
    nothing = np.empty((0, trained.dimensions), np.float32)
    found = remarks(
        learner.labels, learner.prior, nothing, np.empty(0, np.intp), counts.astype(np.float64)
    )
    return trained, VersionReport(
        labels=learner.labels, counts=trained.counts, remarks=remarks_of(found)
    )


def _prior(
    before: TrainedClassifier, labels: tuple[str, ...], model: LoadedModel, account: str
) -> Rows:
    """The embeddings of labels (L, D): those that are known, and of new names their own."""
    known = dict(zip(before.labels, before.learner.prior, strict=True))
    fresh = tuple(label for label in labels if label not in known)
    if fresh:
        images = model.images is not None and before.learner.scale == scale_of(model, images=True)
        context = WorkContext(priority=Priority.STANDARD, account=account)
        rows = wait(embed_labels(model, fresh, context, images=images))
        known |= dict(zip(fresh, rows, strict=True))
    return np.stack([known[label] for label in labels])
