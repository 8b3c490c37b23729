"""What was said becomes a request: what it refers to is looked up for the caller.

Classifiers by their references, files by their ids, and the model where none is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared import deletions, object_keys
from shared.bad_items import each_item
from shared.classifier_record import Classifier, check_model
from shared.classifier_store import ClassifierStore
from shared.dialects.requested import UnresolvedRequest
from shared.dialects.training import UnresolvedTrainRequest
from shared.errors import ObjectMissing
from shared.ids import parse_ref
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.normal_form import LabelSpellings
from shared.ports import ObjectStore
from shared.types import DEFAULT_KEY, ClassifyRequest, Example, Item, Media, Threshold, TrainRequest
from shared.validation import refuse, shown


def resolved(
    asked: UnresolvedRequest,
    *,
    account: str,
    records: ClassifierStore,
    catalogue: Catalogue,
    limits: Limits,
) -> ClassifyRequest:
    """The request, with the version of the classifier that the account means.

    One with images or documents is within the limits: each file that it names is looked up.

    Raises:
        NotFound: The account may use no such classifier, or it has no such version.
        Conflict: It was trained with another model than the one named.
        ModelNotFound: There is no model of the name.
        InvalidRequest: The reference has no form that one has, a threshold is of a label that the
            classifier has not, the model does not read what was sent, or there is no such file.
        PigeonholeError: What the limits refuse.
    """
    request = _with_classifier(asked, account, records, catalogue)
    if not any(item.media for item in request.items):
        return request
    if asked.model is None and asked.classifier is None:
        request = request.model_copy(update={"model": model_for(request.items, catalogue).name})
    model = catalogue.find(request.model)
    files = _Files(account, records.store, records.accepted_at)

    def readable(index: int, item: Item) -> Item:
        _check_read(index, item, model, catalogue)
        return item

    request = limits.check(each_item(request, readable))
    return each_item(request, files.of_item)


def lesson_of(
    said: UnresolvedTrainRequest,
    *,
    account: str,
    records: ClassifierStore,
    catalogue: Catalogue,
    limits: Limits,
    new_id: str,
    accepted_at: float | None = None,
) -> TrainRequest:
    """The request to train a classifier of the account's, or a new one called `new_id`.

    `accepted_at` is as for `with_files`.

    Raises:
        NotFound: The account has no such classifier.
        Conflict: It was trained with another model than the one named.
        ModelNotFound: There is no model of the name.
        InvalidRequest: An example is wrong or names no file, or the version meant is not the
            latest. Examples in a file are not looked at.
        InvalidLabels: Fewer than two labels for a new classifier.
        LabelLimitExceeded: More labels than a classifier may have.
    """
    if said.classifier is None:
        classifier_id = new_id
        items = [example.item for example in said.examples]
        found = model_for(items, catalogue) if said.model is None else catalogue.find(said.model)
        model = found.name
    else:
        record = _trainable(said.classifier, account, records)
        if said.model is not None:
            check_model(record, catalogue.find(said.model).name, version=record.latest)
        classifier_id, model = record.id, record.latest.model
    request = TrainRequest(
        model=model,
        classifier_id=classifier_id,
        create=said.create,
        num_iters=said.num_iters,
        examples=said.examples,
    )
    if said.file is not None:  # whoever reads it looks at the examples
        limits.check_num_iters(request.num_iters)
        file = said.file.model_copy(update={"default_model": said.model is None})
        return request.model_copy(update={"file": file})
    limits.check_training(request, place=said.place)
    examples = examples_for(
        request.examples,
        model=model,
        account=account,
        catalogue=catalogue,
        store=records.store,
        accepted_at=accepted_at,
    )
    return request.model_copy(update={"examples": examples})


def examples_for(
    examples: Sequence[Example],
    *,
    model: str,
    account: str,
    catalogue: Catalogue,
    store: ObjectStore,
    accepted_at: float | None = None,
) -> tuple[Example, ...]:
    """Examples, with the objects of the files that they name; `accepted_at` as for `with_files`.

    Raises:
        InvalidRequest: The model reads no images, or there is no such file.
    """
    items = [example.item for example in examples]
    if not any(item.media for item in items):
        return tuple(examples)
    check_read(items, catalogue.find(model), catalogue)
    found = with_files(items, account=account, store=store, accepted_at=accepted_at)
    return tuple(
        example.model_copy(update={"item": item})
        for example, item in zip(examples, found, strict=True)
    )


def _trainable(said: str, account: str, records: ClassifierStore) -> Classifier:
    """The account's own classifier, if the reference means its latest version: training goes on
    from there.
    """
    ref = parse_ref(said)
    record = records.own(account, ref)
    version = record.find(ref)
    if version.number != record.latest.number:
        refuse(
            "classifier_id",
            f"refers to version {version.number}, but training continues from the latest "
            f"version, {record.latest.number}; roll back first",
        )
    return record


def model_for(items: Sequence[Item], catalogue: Catalogue) -> ModelEntry:
    """The model where none is named: the default, or one that reads images if there are some."""
    images = any(item.images for item in items)
    return catalogue.for_images() if images else catalogue.default


def check_read(items: Sequence[Item], model: ModelEntry, catalogue: Catalogue) -> None:
    """Refuse images for a model of texts.

    Raises:
        InvalidRequest: Names the first one, and the models that read images.
    """
    for index, item in enumerate(items):
        _check_read(index, item, model, catalogue)


def _check_read(index: int, item: Item, model: ModelEntry, catalogue: Catalogue) -> None:
    if model.reads_images or not item.images:
        return
    able = [entry.name for entry in catalogue.entries.values() if entry.reads_images]
    hint = (
        f"use one that does: {', '.join(able)}"
        if able
        else "no model of this service does; the operator can add one to the catalogue"
    )
    refuse(f"input[{index}].image", f"the model {model.name} does not accept images; {hint}")


def with_files(
    items: Sequence[Item],
    *,
    account: str,
    store: ObjectStore,
    accepted_at: float | None = None,
) -> tuple[Item, ...]:
    """The items, with the objects of the files that they name; each file is looked up once.

    For a job that was accepted at a time, files that were deleted later are still there.

    Raises:
        InvalidRequest: The account has no such file.
    """
    files = _Files(account, store, accepted_at)
    return tuple(files.of_item(index, item) for index, item in enumerate(items))


@dataclass(frozen=True)
class _Files:
    """The files of an account, as far as one request names them."""

    account: str
    store: ObjectStore
    accepted_at: float | None
    known: dict[str, Media] = field(default_factory=dict)

    def of_item(self, index: int, item: Item) -> Item:
        if not item.media:
            return item
        where = f"input[{index}]"
        images = tuple(self.find(media, f"{where}.image") for media in item.images)
        file = item.file and self.find(item.file, f"{where}.file")
        return item.model_copy(update={"images": images, "file": file})

    def find(self, media: Media, where: str) -> Media:
        if not media.file_id:
            return media
        if media.file_id not in self.known:
            try:
                record = object_keys.file(self.account, media.file_id)
                deletions.read(self.store, record, accepted_at=self.accepted_at)
            except ObjectMissing:
                refuse(where, "no such file; it may have expired")
            found = Media(object=object_keys.file_content(self.account, media.file_id))
            self.known[media.file_id] = found
        return self.known[media.file_id]


def _with_classifier(
    asked: UnresolvedRequest, account: str, records: ClassifierStore, catalogue: Catalogue
) -> ClassifyRequest:
    if asked.classifier is None:
        return asked.request
    ref = parse_ref(asked.classifier)
    record = records.usable(account, ref)
    version = record.find(ref)
    if asked.model is not None:
        check_model(record, catalogue.find(asked.model).name, version=version)
    found: dict[str, object] = {"model": version.model, "classifier": record.weights(version)}
    threshold = asked.request.threshold
    if threshold is not None and threshold.per_label.keys() - {DEFAULT_KEY}:
        labels = LabelSpellings(records.report(record, version.file).labels)
        found["threshold"] = _spelt(threshold, labels)
    return asked.request.model_copy(update=found)


def _spelt(threshold: Threshold, labels: LabelSpellings) -> Threshold:
    """The threshold by the labels as the classifier spells them."""
    per_label: dict[str, float] = {}
    for label, least in threshold.per_label.items():
        own = labels.get(label)
        if own is None and label == DEFAULT_KEY:
            own = label  # stands for the others
        if own is None:
            refuse(f"threshold[{shown(label)}]", "is not a label of the classifier")
        if own in per_label:
            refuse(f"threshold[{shown(label)}]", "is given twice, in two spellings of one label")
        per_label[own] = least
    return threshold.model_copy(update={"per_label": per_label})
