"""The store of kept examples: one object for each version that learnt some.

A version that changed labels has an object, too, with the changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared import object_keys
from shared.classifier_record import Classifier, Version
from shared.classifier_store import ClassifierStore
from shared.errors import Conflict, NotFound, ObjectMissing
from shared.messages import decode
from shared.ports import ObjectStore
from shared.relabelling import Changes, renamed
from shared.types import Example, Value
from workers.handlers.kept_embeddings import KeptEmbeddings, embedding_key
from workers.handlers.training_set import TrainingSet

_RELABELLED = b'{"relabelled"'  # what an object of changed labels begins with, and no example


class Relabelled(Value):
    """How a version changed the labels of the examples before it."""

    relabelled: dict[str, str | None]


def put(store: ObjectStore, record: Classifier, version: int, examples: Sequence[Example]) -> None:
    """Keep what a version has learnt, a line of JSON for each example."""
    lines = "".join(f"{example.model_dump_json()}\n" for example in examples)
    store.put(object_keys.examples_of(record.account, record.id, version), lines.encode())


def put_changes(store: ObjectStore, record: Classifier, version: int, changes: Changes) -> None:
    """Keep how a version changed the labels of the examples before it, which stay as they are.

    A rollback to a version before it finds them under their old labels.
    """
    kept = Relabelled(relabelled=dict(changes))
    store.put(
        object_keys.examples_of(record.account, record.id, version), kept.model_dump_json().encode()
    )


def delete(store: ObjectStore, record: Classifier, version: int) -> None:
    """Forget what a version has learnt, if it was kept."""
    _embeddings(store, record).delete(version)
    store.delete(object_keys.examples_of(record.account, record.id, version))


def keep(
    records: ClassifierStore,
    record: Classifier,
    version: int,
    examples: Sequence[Example],
    vectors: TrainingSet,
) -> None:
    """Keep the examples of a version with their embeddings, unless the owner said meanwhile that
    none are to be kept.
    """
    key = embedding_key(vectors.model.entry.name, vectors.model.revision)
    _embeddings(records.store, record).add(version, key, examples, vectors.x)
    put(records.store, record, version, examples)
    forget_unless_kept(records, record, version)


def forget_unless_kept(records: ClassifierStore, record: Classifier, version: int) -> None:
    """Delete what was just written for a version if its owner said meanwhile that no examples are
    to be kept, or has deleted the classifier.
    """
    try:
        now, _ = records.load(record.account, record.id)
    except NotFound:
        now = None
    if now is None or not now.keep_examples:
        delete(records.store, record, version)


def get(store: ObjectStore, record: Classifier, *, version: Version | None = None) -> list[Example]:
    """Those of the examples in a version that are kept, in the order they were learnt.

    The version is the latest if None. Labels are those of the version: what was renamed since they
    were learnt has its new name, and those of labels that were taken away are not among them.

    Raises:
        Conflict: How labels were changed is about to be written.
    """
    found: list[Example] = []
    relabelled = {each.number for each in record.versions if each.made_by == "relabel"}
    for first, last in (version or record.latest).learnt:
        for number in range(first, last + 1):
            name = object_keys.examples_of(record.account, record.id, number)
            try:
                data = store.get(name).data
            except ObjectMissing:
                if found and number in relabelled:
                    raise Conflict("labels are being changed; try again", retry_after_s=1) from None
                continue
            if data.startswith(_RELABELLED):
                found = _renamed(found, decode(Relabelled, data).relabelled)
            else:
                found += [Example.model_validate_json(line) for line in data.splitlines()]
    return found


def _embeddings(store: ObjectStore, record: Classifier) -> KeptEmbeddings:
    return KeptEmbeddings(store=store, account=record.account, classifier_id=record.id)


def _renamed(examples: list[Example], changes: Changes) -> list[Example]:
    names = {label: renamed(label, changes) for label in {each.label or "" for each in examples}}
    return [
        each.model_copy(update={"label": names[each.label or ""]})
        for each in examples
        if names[each.label or ""] is not None
    ]
