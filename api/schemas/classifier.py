"""Classifiers in the API: rows of a listing, details, versions, and the bodies of changes.

The first fields of a row are Jina's, underscore included; the others are Pigeonhole's. Only these
bodies refuse unknown fields, because people write them by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, ValidationError

from shared.classifier_record import (
    MAX_ALIASES,
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    Classifier,
    MadeBy,
    Version,
    check_description,
    check_name,
)
from shared.dialects.evaluation_report import (
    RemarkAnswer,
    TrainingMetrics,
    render_metrics,
    render_remark,
)
from shared.dialects.metadata import Metadata
from shared.schema_base import Schema, bounded
from shared.training_results import VersionReport
from shared.types import Access
from shared.validation import refuse, translated


class ClassifierRow(BaseModel):
    """A classifier in a listing."""

    classifier_id: str
    user_id: str = Field(description="The account that owns the classifier.")
    model: str
    labels: list[str]
    access: Access
    updated_number: int = Field(description="Number of the latest version.")
    used_number: int = Field(
        description="Number of requests that used the classifier; a batch counts once."
    )
    created_at: datetime
    updated_at: datetime
    used_at: datetime | None
    is_active: Literal[True]
    is_latest: Literal[True]
    metadata_: dict[str, str]
    name: str | None
    description: str
    version: int
    aliases: dict[str, int]
    keep_examples: bool


class ClassifierList(RootModel[list[ClassifierRow]]):
    """The classifiers of the account, newest first."""


class VersionRow(BaseModel):
    """A version of a classifier. Versions are immutable."""

    version: int
    created_at: datetime
    made_by: MadeBy
    of: int | None = Field(description="The version that a rollback repeats.")
    model: str
    samples: int = Field(description="Number of examples in the version, over all train calls.")
    label_count: int
    accuracy: float | None = Field(
        description="Number of examples of the train call that were predicted correctly before "
        "they were learnt."
    )
    aliases: list[str]
    is_latest: bool
    candidate: bool = Field(description="Whether the version is not live: it is never the latest.")
    promoted_by: str | None = Field(description="The retraining run that promoted the version.")
    rejected_by: str | None = Field(description="The retraining run that rejected the version.")


class VersionList(BaseModel):
    """The available versions, newest first."""

    object: Literal["list"]
    data: list[VersionRow]


class LabelCount(BaseModel):
    """A label and the number of its examples."""

    label: str
    count: int


class ClassifierAnswer(BaseModel):
    """A version of a classifier, with everything but its weights."""

    classifier_id: str
    user_id: str = Field(description="The account that owns the classifier.")
    name: str | None
    description: str
    access: Access
    keep_examples: bool
    closed_labels: bool
    observe: bool
    version: int
    is_latest: bool
    made_by: MadeBy
    model: str
    labels: list[LabelCount]
    num_samples: int = Field(description="Number of examples in the version, over all train calls.")
    metrics: TrainingMetrics | None = Field(
        description="Metrics of the train call that created the version; null without one."
    )
    remarks: list[RemarkAnswer]
    aliases: dict[str, int]
    versions: list[VersionRow]
    used_number: int = Field(
        description="Number of requests that used the classifier; a batch counts once."
    )
    used_at: datetime | None
    created_at: datetime
    updated_at: datetime


class DeletedObject(BaseModel):
    """Confirmation of a deletion."""

    message: str


class ForgottenExamples(BaseModel):
    """Confirmation that stored examples were deleted."""

    message: str
    deleted: int = Field(description="Number of train calls whose stored examples were deleted.")


class _ClassifierInput(Schema):
    """A body that people write by hand: unknown fields are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class ClassifierChangeBody(_ClassifierInput):
    """Changes to a classifier; absent fields do not change."""

    name: str | None = Field(
        None,
        description=f"1 to {MAX_NAME_CHARS} characters without spaces, `@` or `/`; null removes "
        "the name.",
    )
    description: str = Field("", description=f"At most {MAX_DESCRIPTION_CHARS} characters.")
    access: Access = Field(
        "private",
        description="Accounts that may classify with it: the owner (`private`) or all (`public`).",
    )
    keep_examples: bool = Field(
        False,
        description=(
            "Store the examples of future train calls, so that the classifier can be rebuilt."
        ),
    )
    closed_labels: bool = Field(
        False, description="Refuse labels in future train calls that the classifier does not have."
    )
    observe: bool = Field(
        True, description="Count what it classifies, without the texts, to detect drift."
    )
    aliases: Annotated[dict[str, int | None], BeforeValidator(bounded)] = Field(
        default_factory=dict,
        description="Version number to which an alias points, or null to remove the alias; other "
        f"aliases do not change. At most {MAX_ALIASES} aliases.",
    )
    labels: Annotated[dict[str, str | None], BeforeValidator(bounded)] = Field(
        default_factory=dict,
        description="New name of a label, or null to remove the label and its examples; other "
        "labels do not change. Labels with the same new name are merged. Creates a new "
        "version in a job, and cannot be combined with other fields.",
    )

    @property
    def given(self) -> frozenset[str]:
        """The names of the fields to change."""
        return frozenset(self.model_fields_set)


class RollbackBody(_ClassifierInput):
    """The version to roll back to: exactly one of the fields, unless the path has a version."""

    version: int | None = None
    alias: str | None = None


class RebuildBody(_ClassifierInput):
    """The model with which to train the stored examples again."""

    model: str = Field(description="Model or alias; may be the current model of the classifier.")
    metadata: Metadata = None


_Body = TypeVar("_Body", bound=BaseModel)


def parse_change(body: object) -> ClassifierChangeBody:
    """Parse the changes to a classifier.

    Raises:
        InvalidRequest: A shape or value is wrong, or nothing is to change; names each place.
    """
    parsed = _read(ClassifierChangeBody, body)
    if not parsed.given:
        fields = ", ".join(ClassifierChangeBody.model_fields)
        refuse("body", f"changes nothing: send at least one of {fields}")
    if "labels" in parsed.given and len(parsed.given) > 1:
        refuse("labels", "creates a new version: send it without other fields")
    if parsed.name is not None:
        check_name(parsed.name)
    check_description(parsed.description)
    return parsed


def parse_rollback(body: object) -> RollbackBody:
    """Parse a rollback.

    Raises:
        InvalidRequest: A shape is wrong, or both a version and an alias are given.
    """
    parsed = _read(RollbackBody, body)
    if parsed.version is not None and parsed.alias is not None:
        refuse("alias", "conflicts with `version`: send only one of them")
    return parsed


def parse_rebuild(body: object) -> RebuildBody:
    """Parse a rebuild.

    Raises:
        InvalidRequest: A shape is wrong.
    """
    return _read(RebuildBody, body)


def render_row(record: Classifier, *, used_number: int, used_at: datetime | None) -> dict[str, Any]:
    """A row of the listing."""
    return {
        "classifier_id": record.id,
        "user_id": record.account,
        "model": record.latest.model,
        "labels": record.labels,
        "access": record.access,
        "updated_number": record.latest.number,
        "used_number": used_number,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "used_at": used_at,
        "is_active": True,
        "is_latest": True,
        "metadata_": {},
        "name": record.name,
        "description": record.description,
        "version": record.latest.number,
        "aliases": record.aliases,
        "keep_examples": record.keep_examples,
    }


def render_versions(record: Classifier) -> dict[str, Any]:
    """The available versions, newest first."""
    return {"object": "list", "data": _versions(record)}


def render_classifier(
    record: Classifier,
    version: Version,
    report: VersionReport,
    *,
    before: Iterable[VersionReport] = (),
    used_number: int,
    used_at: datetime | None,
) -> dict[str, Any]:
    """The details of one version; `before` are the reports of the versions it was trained from."""
    counts = zip(report.labels, report.counts, strict=True)
    return {
        "classifier_id": record.id,
        "user_id": record.account,
        "name": record.name,
        "description": record.description,
        "access": record.access,
        "keep_examples": record.keep_examples,
        "closed_labels": record.closed_labels,
        "observe": record.observe,
        "version": version.number,
        "is_latest": version == record.latest,
        "made_by": version.made_by,
        "model": version.model,
        "labels": [{"label": label, "count": count} for label, count in counts],
        "num_samples": version.samples,
        "metrics": render_metrics(
            report.progressive, before=[each.progressive for each in before if each.progressive]
        ),
        "remarks": [render_remark(remark) for remark in report.remarks],
        "aliases": record.aliases,
        "versions": _versions(record),
        "used_number": used_number,
        "used_at": used_at,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _versions(record: Classifier) -> list[dict[str, Any]]:
    return [
        {
            "version": version.number,
            "created_at": version.created_at,
            "made_by": version.made_by,
            "of": version.of,
            "model": version.model,
            "samples": version.samples,
            "label_count": version.label_count,
            "accuracy": version.accuracy,
            "aliases": sorted(
                a for a, number in record.aliases.items() if number == version.number
            ),
            "is_latest": version == record.latest,
            "candidate": version.candidate,
            "promoted_by": version.promoted_by,
            "rejected_by": version.rejected_by,
        }
        for version in reversed(record.versions)
    ]


def _read(shape: type[_Body], body: object) -> _Body:
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        return shape.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
