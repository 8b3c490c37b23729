"""Evaluation: labelled examples in, the quality of a classifier version out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.schemas.example_file import (
    ABOUT,
    FileFields,
    StoredExamplesFields,
    UploadedFile,
    example_file,
    stored_example_file,
    with_file,
)
from shared.dialects.examples import ExampleInputs, example_of
from shared.dialects.metadata import Metadata
from shared.evaluation_results import EvaluateResult
from shared.schema_base import Schema
from shared.types import Example, ExampleFile
from shared.validation import refuse, translated


class EvaluateBody(Schema):
    """An evaluate request."""

    input: ExampleInputs = Field(
        description="Examples to evaluate the classifier on. Examples without a label are only "
        "ranked by how much their label would improve the classifier."
    )
    metadata: Metadata = None


class EvaluateCallBody(StoredExamplesFields):
    """An evaluate request in JSON: examples in the body, or a stored file of them."""

    input: ExampleInputs | None = Field(
        None,
        description="Examples to evaluate the classifier on. Examples without a label are only "
        "ranked by how much their label would improve the classifier. Required without "
        "`input_file_id` and `input_url`.",
    )
    metadata: Metadata = None


class EvaluateFileBody(FileFields):
    """An evaluate request with a file of examples; all field values are strings."""

    model_config = ConfigDict(strict=False, json_schema_extra=with_file(ABOUT))

    metadata: Metadata = None


class EvaluateTokens(BaseModel):
    """Tokens charged for the call."""

    total_tokens: int


class LabelReport(BaseModel):
    """Metrics of one label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int = Field(description="Number of examples with the label.")
    threshold: float = Field(description="The score threshold with the best F1.")


class ConfusionMatrix(BaseModel):
    """Counts of true and predicted labels."""

    labels: list[str]
    counts: list[list[int]] = Field(
        description="Rows are true labels, columns are predicted labels."
    )


class ReliabilityPoint(BaseModel):
    """Examples whose best score is in a bin that ends at `upper`."""

    upper: float
    confidence: float = Field(description="Mean score of the examples in the bin.")
    accuracy: float = Field(
        description="Fraction of the examples in the bin that are predicted correctly."
    )
    count: int


class LabelingCandidate(BaseModel):
    """An example of which the classifier is uncertain."""

    index: int = Field(description="Index of the example in the request, from 0.")
    prediction: str
    score: float
    margin: float = Field(description="Difference between the best and the second score.")


class PlotUrls(BaseModel):
    """URLs of a plot."""

    png: str
    svg: str


class EvaluateAnswer(BaseModel):
    """Quality of a version of a classifier on the examples."""

    classifier_id: str
    version: int
    num_samples: int = Field(description="Number of examples with a label.")
    usage: EvaluateTokens
    accuracy: float
    macro_f1: float
    micro_f1: float
    expected_calibration_error: float
    labels: list[LabelReport]
    confusion_matrix: ConfusionMatrix
    reliability: list[ReliabilityPoint]
    most_worth_labelling: list[LabelingCandidate]
    thresholds: dict[str, float] = Field(
        description=(
            "Best threshold of each label; can be sent as `threshold` of a classify request."
        )
    )
    plots: dict[str, PlotUrls] = Field(description="The plots, by name.")
    job_id: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The examples of an evaluate call, or the file that holds them."""

    examples: tuple[Example, ...] = ()
    file: ExampleFile | None = None
    metadata: dict[str, str] = field(default_factory=dict)  # of the job


def parse(body: object) -> Evaluation:
    """Parse a JSON body.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        parsed = EvaluateBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    return Evaluation(examples=tuple(map(example_of, parsed.input)), metadata=parsed.metadata or {})


def parse_stored(body: object) -> Evaluation:
    """Parse a request that names a stored file.

    Raises:
        InvalidRequest: A field is wrong, or examples are in the body as well.
    """
    try:
        parsed = EvaluateCallBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    if parsed.input is not None:
        refuse("input", "conflicts with the stored file of examples: send only one of them")
    return Evaluation(file=stored_example_file(parsed), metadata=parsed.metadata or {})


def parse_file(fields: Mapping[str, str], sent: UploadedFile, *, place: str) -> Evaluation:
    """Parse the fields next to a file that is stored under `place`.

    Raises:
        InvalidRequest: A field is wrong.
    """
    try:
        parsed = EvaluateFileBody.model_validate(dict(fields))
    except ValidationError as exc:
        raise translated(exc) from None
    return Evaluation(file=example_file(parsed, sent, place=place), metadata=parsed.metadata or {})


def render(result: EvaluateResult, *, job_id: str, root: str = "") -> dict[str, Any]:
    """The response body. URLs begin with `root`."""
    labels = [each.label for each in result.labels]
    return {
        "classifier_id": result.classifier_id,
        "version": result.version,
        "num_samples": result.num_samples,
        "usage": {"total_tokens": result.usage.total_tokens},
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        "micro_f1": result.micro_f1,
        "expected_calibration_error": result.calibration_error,
        "labels": result.labels,
        "confusion_matrix": {"labels": labels, "counts": result.confusion},
        "reliability": result.reliability,
        "most_worth_labelling": result.worth_labelling,
        "thresholds": {each.label: each.threshold for each in result.labels},
        "plots": _plots(result.plots, f"{root}/v1/jobs/{job_id}/plots"),
        "job_id": job_id,
    }


def _plots(files: tuple[str, ...], url: str) -> dict[str, dict[str, str]]:
    """The URLs of the plots, by name and format."""
    plots: dict[str, dict[str, str]] = {}
    for each in files:
        name, _, kind = each.rpartition(".")
        plots.setdefault(name, {})[kind] = f"{url}/{each}"
    return plots
