"""The port of methods: how a challenger is made of a champion and new rows.

A method is one file beside this one, and one entry in `METHODS` of `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from shared.classifier_record import Classifier, Version
from shared.limits import Limits
from shared.observation import Observation
from shared.retraining import RejectedRowsIn
from shared.training_results import VersionReport
from shared.types import Example
from workers.classifier_file import TrainedClassifier
from workers.handlers.retrain.snapshot import NewRow
from workers.handlers.training_set import TrainingSet


@dataclass(frozen=True, kw_only=True)
class TrainingNight:
    """What a method learns from.

    Attributes:
        record: The classifier.
        version: The champion's version.
        champion: The champion.
        model: The model that `rebuild` is to use.
        rows: The rows to learn: the new ones, with or without those of rejected nights.
        rejected_rows: Whether rows of rejected nights are among them.
        holdout: Digests of what is never learnt.
        embed: Sends examples through a model, by its name; each item once in a run.
        embed_kept: Makes the embeddings of the kept examples of a version known to `embed`, as far
            as they are kept without the model.
        limits: The limits of a classifier.
        observed: The sums over the examples that the champion has learnt.
    """

    record: Classifier
    version: Version
    champion: TrainedClassifier
    model: str
    rows: tuple[NewRow, ...]
    rejected_rows: RejectedRowsIn
    holdout: frozenset[str]
    embed: Callable[[str, Sequence[Example]], TrainingSet]
    embed_kept: Callable[[str, Classifier, Version, Sequence[Example]], None]
    limits: Limits
    observed: Observation = Observation()


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A version that may replace the champion; it is not stored yet. `learnt` are the sums over
    the examples in it.
    """

    method: str
    night: TrainingNight
    trained: TrainedClassifier
    report: VersionReport
    learnt: Observation


class Method(Protocol):
    """Makes a challenger."""

    name: ClassVar[str]

    def challenge(self, night: TrainingNight) -> Challenger:
        """Train a challenger. The same night gives the same challenger.

        Raises:
            PigeonholeError: It cannot be trained.
        """


def subsets(
    new: tuple[NewRow, ...], rejected: tuple[NewRow, ...]
) -> Iterator[tuple[RejectedRowsIn, tuple[NewRow, ...]]]:
    """The rows of the challengers of a night: the new ones, with rejected ones and alone."""
    if not rejected:
        yield "none", new
        return
    yield "with", (*rejected, *new)
    if new:
        yield "without", new
