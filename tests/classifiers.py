"""Puts classifiers on a store as trainers leave them there, for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared import ids, object_keys
from shared.classifier_record import Classifier, Version
from shared.classifier_store import ClassifierStore
from shared.messages import encode
from shared.ports import ObjectStore
from shared.training_results import (
    ProgressiveEvaluation,
    TrainingWarning,
    VersionReport,
)
from shared.types import Access, Example, Item
from tests.classifier_files import classifier_file

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROGRESSIVE = ProgressiveEvaluation(
    accuracy=0.75,
    log_loss=0.5,
    curve=((0, 0.0), (4, 0.75)),
    trust={"prior": 0.25, "examples": 0.75},
    label_strength=0.5,
)
SAMPLES = 4  # that each version has learnt
REMARK = TrainingWarning(kind="few_examples", labels=("x",), value=2.0)


def a_version(number: int, *, labels: int = 2, model: str = "tiny") -> Version:
    """A version, made `number` hours after `BEGAN`."""
    return Version(
        number=number,
        file=f"{number}-{ids.token()}",
        model=model,
        made_by="train",
        created_at=BEGAN + timedelta(hours=number),
        samples=number * SAMPLES,
        label_count=labels,
        accuracy=0.75,
        learnt=((1, number),),
    )


def a_record(
    *,
    name: str | None = None,
    account: str = "acme",
    access: Access = "private",
    versions: int = 1,
    labels: tuple[str, ...] = ("x", "y"),
    keep_examples: bool = False,
    hours: int = 0,
) -> Classifier:
    """A record, made `hours` after `BEGAN`."""
    made = tuple(a_version(number, labels=len(labels)) for number in range(1, versions + 1))
    return Classifier(
        id=ids.classifier_id(),
        account=account,
        name=name,
        access=access,
        keep_examples=keep_examples,
        labels=labels,
        versions=made,
        created_at=BEGAN + timedelta(hours=hours),
        updated_at=made[-1].created_at,
    )


def weights_of(number: int, labels: tuple[str, ...] = ("x", "y")) -> bytes:
    """The file of a version; no two are the same."""
    return classifier_file(labels, examples=number)


def put_classifier(store: ObjectStore, **said: Any) -> Classifier:
    """A record with everything that lies about it; version N has learnt N of each label."""
    record = a_record(**said)
    for version in record.versions:
        report = VersionReport(
            labels=record.labels,
            counts=tuple(version.number for _ in record.labels),
            progressive=PROGRESSIVE,
            remarks=(REMARK,),
        )
        place = (record.account, record.id, version.file)
        store.put(object_keys.weights(*place), weights_of(version.number, record.labels))
        store.put(object_keys.report(*place), encode(report))
        if record.keep_examples:
            name = object_keys.examples_of(record.account, record.id, version.number)
            labels = [record.labels[place % len(record.labels)] for place in range(SAMPLES)]
            rows = [Example(item=Item(text=label), label=label) for label in labels]
            store.put(name, "".join(f"{row.model_dump_json()}\n" for row in rows).encode())
    assert ClassifierStore(store=store).create(record)
    return record
