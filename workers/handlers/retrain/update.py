"""The method `update`: the champion learns the new rows on top of what it knows."""

from __future__ import annotations

from typing import ClassVar

from shared.observation import merged
from workers.handlers import training_set
from workers.handlers.retrain.method import Challenger, TrainingNight


class Update:
    """Trains the champion further; nothing but the champion and the new rows is needed."""

    name: ClassVar[str] = "update"

    def challenge(self, night: TrainingNight) -> Challenger:
        """Train a challenger.

        Raises:
            Conflict: The champion was trained with another revision of the model.
            LabelLimitExceeded: It would have too many labels.
        """
        rows = night.embed(night.champion.model, [row.example for row in night.rows])
        trained, report, learnt = training_set.learn(rows, night.champion, night.limits)
        return Challenger(
            method=self.name,
            night=night,
            trained=trained,
            report=report,
            learnt=merged((night.observed, learnt)),
        )
