"""Resolution of requests: parsed requests become requests that workers can run.

References to classifiers, file ids and the model (if none is named) are looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared import deletions, object_keys
from shared.bad_items import each_item
from shared.classifier_record import Classifier, Version, check_model
from shared.classifier_store import ClassifierStore
from shared.closed_labels import check_labels
from shared.dialects.requested import UnresolvedRequest
from shared.dialects.training import UnresolvedTrainRequest
from shared.errors import ObjectMissing
from shared.ids import parse_ref
from shared.limits import Limits
from shared.model_catalogue import Catalogue, ModelEntry
from shared.normal_form import LabelSpellings
from shared.ports import ObjectStore
from shared.types import DEFAULT_KEY, ClassifyRequest, Example, Item, Media, Threshold, TrainRequest
from shared.validation import found_by, inner, refuse


def resolved(
    unresolved: UnresolvedRequest,
    *,
    account: str,
    records: ClassifierStore,
    catalogue: Catalogue,
    limits: Limits,
) -> ClassifyRequest:
    """The request, with the version of the classifier to which its reference points.

    A request with images or documents is checked against the limits, and its files are looked up.

    Raises:
        NotFound: The account may use no such classifier, or it has no such version.
        Conflict: The classifier was trained with another model than the requested one.
        ModelNotFound: The catalogue has no such model.
        InvalidRequest: The reference is malformed, a threshold names an unknown label, the model
            does not accept the kind of input, or a file does not exist.
        PigeonholeError: The request exceeds a limit.
    """
    request = _with_classifier(unresolved, account, records, catalogue)
    if not request.reads_media:
        return request
    shared = () if request.shared_media is None else (request.shared_media,)
    if unresolved.model is None and unresolved.classifier is None:
        model_name = model_for((*request.items, *shared), catalogue).name
        request = request.model_copy(update={"model": model_name})
    model = catalogue.find(request.model)
    files = _Files(account, records.store, records.accepted_at)

    def readable(index: int, item: Item) -> Item:
        _check_read(index, item, model, catalogue)
        return item

    request = limits.check(each_item(request, readable))
    if shared:
        media = files.of_item(0, readable(0, shared[0]))
        request = request.model_copy(update={"shared_media": media})
    return each_item(request, files.of_item)


def train_request_of(
    unresolved: UnresolvedTrainRequest,
    *,
    account: str,
    records: ClassifierStore,
    catalogue: Catalogue,
    limits: Limits,
    new_id: str,
    accepted_at: float | None = None,
) -> TrainRequest:
    """The request to train a classifier of the account, or a new one with the id `new_id`.

    `accepted_at` is as for `with_files`.

    Raises:
        NotFound: The account has no such classifier.
        Conflict: The classifier was trained with another model than the requested one.
        ModelNotFound: The catalogue has no such model.
        InvalidRequest: An example is invalid, a label is new where labels are closed, a file does
            not exist, or the version is not the latest. Examples in a file are not checked here.
        InvalidLabels: Fewer than two labels for a new classifier.
        LabelLimitExceeded: More labels than a classifier may have.
    """
    base: int | None = None
    multilingual: str | None = None
    if unresolved.create is not None:
        classifier_id = new_id
        items = [example.item for example in unresolved.examples]
        if unresolved.model is None:
            model = model_for(items, catalogue).name
            wanted = catalogue.default_name if model == catalogue.default.name else model
        else:
            model = catalogue.find_embedder(unresolved.model).name
            wanted = unresolved.model
        if catalogue.auto is not None and catalogue.is_auto(wanted):
            multilingual = catalogue.auto.multilingual
    else:
        record, version = _trainable(unresolved, account, records)
        _check_model(unresolved.model, record, version, catalogue)
        classifier_id, model = record.id, version.model
        base = None if unresolved.base is None else version.number
        if record.closed_labels:
            check_labels(
                [example.label for example in unresolved.examples],
                record.labels,
                place=lambda index: f"{unresolved.place(index)}.label",
            )
    request = TrainRequest(
        model=model,
        classifier_id=classifier_id,
        create=unresolved.create,
        base=base,
        candidate=unresolved.candidate,
        num_iters=unresolved.num_iters,
        examples=unresolved.examples,
        multilingual_model=multilingual,
    )
    if unresolved.file is not None:  # the reader of the file checks the examples
        limits.check_num_iters(request.num_iters)
        file = unresolved.file.model_copy(update={"default_model": unresolved.model is None})
        return request.model_copy(update={"file": file})
    limits.check_training(request, place=unresolved.place)
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
    """Examples with their files resolved to object keys; `accepted_at` as for `with_files`.

    Raises:
        InvalidRequest: The model does not accept images, or a file does not exist.
    """
    items = [example.item for example in examples]
    if not any(item.media for item in items):
        return tuple(examples)
    check_read(items, catalogue.find(model), catalogue)
    resolved_items = with_files(items, account=account, store=store, accepted_at=accepted_at)
    return tuple(
        example.model_copy(update={"item": item})
        for example, item in zip(examples, resolved_items, strict=True)
    )


def _check_model(
    name: str | None, record: Classifier, version: Version, catalogue: Catalogue
) -> None:
    """Refuse a named model that is not that of the version; `auto` stands for both of its models.

    Raises:
        Conflict: The models differ.
        ModelNotFound: There is no model of the name.
    """
    if name is not None and not catalogue.stands_for(name, version.model):
        check_model(record, catalogue.find(name).name, version=version)


def _trainable(
    unresolved: UnresolvedTrainRequest, account: str, records: ClassifierStore
) -> tuple[Classifier, Version]:
    """The account's own classifier, and the version to train further: that of `from`, or the
    latest.
    """
    record: Classifier | None = None
    if unresolved.classifier is not None:
        ref = parse_ref(unresolved.classifier)
        with found_by("classifier_id"):
            record = records.own(account, ref)
            version = record.find(ref)
        if version.number != record.latest.number:
            refuse(
                "classifier_id",
                f"refers to version {version.number}, but training continues from the latest "
                f"version, {record.latest.number}; roll back first, or name the version in `from`",
            )
    if unresolved.base is not None:
        ref = parse_ref(unresolved.base, field="from")
        with found_by("from"):
            other = records.own(account, ref)
            base = other.find(ref)
        if record is not None and record.id != other.id:
            refuse("from", "is a version of another classifier than `classifier_id`; send only one")
        record, version = other, base
    assert record is not None  # one of both is given where nothing is created
    return record, version


def model_for(items: Sequence[Item], catalogue: Catalogue) -> ModelEntry:
    """The model of a request that names none: the default, or one that accepts images if needed."""
    images = any(item.images for item in items)
    return catalogue.for_images() if images else catalogue.default


def check_read(items: Sequence[Item], model: ModelEntry, catalogue: Catalogue) -> None:
    """Refuse images for a text model.

    Raises:
        InvalidRequest: Names the first image, and the models that accept images.
    """
    for index, item in enumerate(items):
        _check_read(index, item, model, catalogue)


def _check_read(index: int, item: Item, model: ModelEntry, catalogue: Catalogue) -> None:
    if model.reads_images or not item.images:
        return
    names = [entry.name for entry in catalogue.entries.values() if entry.reads_images]
    hint = (
        f"use one that does: {', '.join(names)}"
        if names
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
    """The items with their files resolved to object keys; each file is looked up once.

    With `accepted_at`, the time at which a job was accepted, files that were deleted later still
    resolve.

    Raises:
        InvalidRequest: The account has no such file.
    """
    files = _Files(account, store, accepted_at)
    return tuple(files.of_item(index, item) for index, item in enumerate(items))


@dataclass(frozen=True)
class _Files:
    """Lookup of the files of one request."""

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
            key = object_keys.file_content(self.account, media.file_id)
            self.known[media.file_id] = Media(object=key)
        return self.known[media.file_id]


def _with_classifier(
    unresolved: UnresolvedRequest, account: str, records: ClassifierStore, catalogue: Catalogue
) -> ClassifyRequest:
    if unresolved.classifier is None:
        return unresolved.request
    ref = parse_ref(unresolved.classifier)
    with found_by("classifier_id"):
        record = records.usable(account, ref)
        version = record.find(ref)
    _check_model(unresolved.model, record, version, catalogue)
    changes: dict[str, object] = {"model": version.model, "classifier": record.weights(version)}
    threshold = unresolved.request.threshold
    if threshold is not None and threshold.per_label.keys() - {DEFAULT_KEY}:
        labels = LabelSpellings(records.report(record, version.file).labels)
        changes["threshold"] = _respelt(threshold, labels)
    return unresolved.request.model_copy(update=changes)


def _respelt(threshold: Threshold, labels: LabelSpellings) -> Threshold:
    """The threshold with labels spelt as the classifier spells them."""
    per_label: dict[str, float] = {}
    for label, min_score in threshold.per_label.items():
        own = labels.get(label)
        if own is None and label == DEFAULT_KEY:
            own = label  # applies to the other labels
        if own is None:
            refuse(inner("threshold", label), "is not a label of the classifier")
        if own in per_label:
            refuse(inner("threshold", label), "is given twice, in two spellings of one label")
        per_label[own] = min_score
    return threshold.model_copy(update={"per_label": per_label})
