"""What was said becomes a request: references to classifiers are looked up for the caller."""

from __future__ import annotations

from dataclasses import dataclass

from api.classifiers import Classifiers
from api.wire.train import Training
from shared import ids
from shared.catalogue import Catalogue
from shared.classifiers import Classifier, Version, check_model
from shared.dialects.asked import Asked
from shared.limits import Limits
from shared.resolve import resolved
from shared.types import ClassifyRequest, TrainRequest


@dataclass(frozen=True, kw_only=True)
class Resolve:
    """Completes what dialects parsed."""

    classifiers: Classifiers
    catalogue: Catalogue
    limits: Limits

    def classify(self, asked: Asked, *, account: str) -> ClassifyRequest:
        """The request, with the version of the classifier that the caller means.

        Raises:
            NotFound: The caller may use no such classifier, or it has no such version.
            Conflict: It was trained with another model than the one named.
            InvalidRequest: A threshold is of a label that it has not.
        """
        return resolved(
            asked, account=account, records=self.classifiers.records, catalogue=self.catalogue
        )

    def train(self, said: Training, *, account: str) -> TrainRequest:
        """The request to train a classifier of the caller's, or a new one.

        Raises:
            NotFound: The caller has no such classifier.
            Conflict: It was trained with another model; or another has the name of the new one.
            ResourceLimitExceeded: The caller has as many classifiers as he may.
            ModelNotFound: There is no such model.
            InvalidRequest: An example is wrong, or the version meant is not the latest.
            InvalidLabels: Fewer than two labels for a new classifier.
            LabelLimitExceeded: More labels than a classifier may have.
        """
        if said.classifier is None:
            classifier_id = ids.classifier_id()
            named = self.catalogue.default.name if said.model is None else said.model
            model = self.catalogue.find(named).name
        else:
            record = self.classifiers.trainable(account, said.classifier)
            self._check_model(said.model, record, record.latest)
            classifier_id, model = record.id, record.latest.model
        request = TrainRequest(
            model=model,
            classifier_id=classifier_id,
            create=said.create,
            num_iters=said.num_iters,
            examples=said.examples,
        )
        self.limits.check_training(request, place=said.place)
        if said.create is not None:
            self.classifiers.check_new(account, said.create)
        return request

    def _check_model(self, named: str | None, record: Classifier, version: Version) -> None:
        if named is not None:
            check_model(record, self.catalogue.find(named).name, version=version)
