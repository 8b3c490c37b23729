"""The method `rebuild`: all kept examples of the champion and the new rows are learnt from scratch,
also with another model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shared.errors import Conflict
from shared.ports import ObjectStore
from workers.core.holdout import content_digest
from workers.handlers import example_store, training_set
from workers.handlers.retrain.method import Challenger, TrainingNight


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """Trains on all examples anew."""

    name: ClassVar[str] = "rebuild"
    store: ObjectStore

    def challenge(self, night: TrainingNight) -> Challenger:
        """Train a challenger.

        Raises:
            Conflict: The classifier keeps no examples.
            LabelLimitExceeded: It would have too many labels.
        """
        kept = example_store.get(self.store, night.record, version=night.version)
        kept = [each for each in kept if content_digest(each.item).hex() not in night.holdout]
        if not kept:
            raise Conflict(
                "the classifier keeps no examples to rebuild it from; set `keep_examples`, or use "
                'the method "update"'
            )
        night.embed_kept(night.model, night.record, night.version, kept)
        examples = [*kept, *(row.example for row in night.rows)]
        rows = night.embed(night.model, examples)
        trained, report, learnt = training_set.learn(rows, None, night.limits)
        return Challenger(
            method=self.name, night=night, trained=trained, report=report, learnt=learnt
        )
