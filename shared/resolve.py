"""What was said becomes a request: a reference to a classifier is looked up for the caller."""

from __future__ import annotations

from shared.catalogue import Catalogue
from shared.classifier_store import ClassifierStore
from shared.classifiers import check_model
from shared.dialects.asked import Asked
from shared.dialects.refusal import refuse, shown
from shared.ids import parse_ref
from shared.types import ClassifyRequest


def resolved(
    asked: Asked, *, account: str, records: ClassifierStore, catalogue: Catalogue
) -> ClassifyRequest:
    """The request, with the version of the classifier that the account means.

    Raises:
        NotFound: The account may use no such classifier, or it has no such version.
        Conflict: It was trained with another model than the one named.
        ModelNotFound: There is no model of the name.
        InvalidRequest: The reference has no form that one has, or a threshold is of a label that
            the classifier has not.
    """
    if asked.classifier is None:
        return asked.request
    ref = parse_ref(asked.classifier)
    record = records.usable(account, ref)
    version = record.find(ref)
    if asked.model is not None:
        check_model(record, catalogue.find(asked.model).name, version=version)
    if asked.request.threshold is not None and asked.request.threshold.per_label:
        labels = set(records.report(record, version.file).labels)
        for label in asked.request.threshold.per_label:
            if label not in labels:
                refuse(f"threshold[{shown(label)}]", "is none of the classifier's labels")
    found = {"model": version.model, "classifier": record.weights(version)}
    return asked.request.model_copy(update=found)
