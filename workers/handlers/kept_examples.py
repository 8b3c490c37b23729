"""The examples that an owner asked to keep: one object for each version that learnt some."""

from __future__ import annotations

from collections.abc import Sequence

from shared import layout
from shared.classifiers import Classifier
from shared.errors import ObjectMissing
from shared.ports import ObjectStore
from shared.types import Example


def put(store: ObjectStore, record: Classifier, version: int, examples: Sequence[Example]) -> None:
    """Keep what a version has learnt, a line of JSON for each example."""
    lines = "".join(f"{example.model_dump_json()}\n" for example in examples)
    store.put(layout.examples_of(record.account, record.id, version), lines.encode())


def delete(store: ObjectStore, record: Classifier, version: int) -> None:
    """Forget what a version has learnt, if it was kept."""
    store.delete(layout.examples_of(record.account, record.id, version))


def get(store: ObjectStore, record: Classifier) -> list[Example]:
    """Those of the examples in the latest version that are kept, in the order they were learnt."""
    found: list[Example] = []
    for first, last in record.latest.learnt:
        for version in range(first, last + 1):
            name = layout.examples_of(record.account, record.id, version)
            try:
                lines = store.get(name).data.splitlines()
            except ObjectMissing:
                continue
            found += [Example.model_validate_json(line) for line in lines]
    return found
