"""The schema of a classify response, for the OpenAPI document.

`classify_response` writes the values themselves, without the cost of these classes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.dialects import classify_response
from shared.schema_base import Schema
from shared.types import Engine, FileBy


class LabelScore(Schema):
    """A label and how well it fits."""

    label: str
    score: float


class PageAnswer(Schema):
    """What one page of a document was found to be."""

    prediction: str | dict[str, str | None] | None
    score: float | dict[str, float | None] | None
    predictions: list[LabelScore] | dict[str, list[LabelScore]]


class FileAnswer(Schema):
    """What was read of a document."""

    kind: str = Field(description="`pdf`, `docx` or `text`.")
    total_pages: int = Field(
        description="Of text without pages of its own: pieces of about 3,000 characters."
    )
    pages_read: int = Field(description="Those of them that were read whole.")
    read_by: FileBy = Field(description="What it was judged by.")
    scanned: bool = Field(description="It has images of pages and no text.")
    pages: list[PageAnswer] = Field(
        default=[],
        description="Present with `per_page`: the answer for each of the first `max_pages` pages, "
        "null for one with nothing on it.",
    )


class ItemError(Schema):
    """Why an item has no answer."""

    code: str
    message: str
    field: str | None = Field(default=None, description="Present where a field is at fault.")


class Classification(Schema):
    """The answer for one input. With groups of labels, the three answers are objects by group."""

    object: Literal["classification"]
    index: int
    prediction: str | dict[str, str | None] | None = Field(
        description="The best label; null where a threshold left none, or where `fit` is less "
        "than `unknown_below`: then `score` is that of the best label all the same."
    )
    score: float | dict[str, float | None] | None
    predictions: list[LabelScore] | dict[str, list[LabelScore]] = Field(
        description="Every label with its score, in the order of the request, but for those that "
        "`threshold` or `top_k` removed."
    )
    margin: float | dict[str, float | None] | None = Field(
        default=None,
        description="Present with `return_uncertainty`: how far the best calibrated score is ahead "
        "of the second.",
    )
    uncertain: bool | dict[str, bool] = Field(
        default=False,
        description="Present with `return_uncertainty`: `margin` is below "
        f"{classify_response.UNCERTAIN_MARGIN:g}.",
    )
    fit: float | dict[str, float] | None = Field(
        default=None,
        description="Present with `return_fit` or `unknown_below`: how likely it is that the item "
        "is one of what the labels, or the examples of the classifier, describe; 0 to 1.",
    )
    truncated: bool = Field(
        default=False,
        description="False where the text is longer than the model's window: it was read whole, "
        "window by window. True where pages of a document were not read: `file` says how many "
        "were. Absent elsewhere.",
    )
    file: FileAnswer | None = Field(default=None, description="Present for documents.")
    cached: bool = Field(
        default=False,
        description="Present with `cache`: the answer is that of an equal item, kept from before.",
    )
    model: str | None = Field(
        default=None,
        description="Present where another model answered: with `model: auto` the multilingual "
        "one, and for the pages of a scan the one that reads images.",
    )
    warnings: list[Literal["language_not_supported"]] = Field(
        default=[],
        description="Present with `model: auto` where neither model knows the language of the "
        "text: the answer is hardly better than chance.",
    )
    error: ItemError | None = Field(
        default=None,
        description='Present with `errors: "per_item"` where the item is bad. `prediction` and '
        "`score` are null then, and nothing is charged for it.",
    )


class Tokens(Schema):
    """What the request cost: tokens of inputs and labels; of inputs alone with a classifier."""

    total_tokens: int
    prompt_tokens: int


class ClassifyWarning(Schema):
    """What in the request makes its answers worse, and what to do."""

    code: Literal["labels_alike"]
    message: str
    labels: list[str]
    group: str | None = Field(default=None, description="Of the labels, where they have one.")


class VersionReference(Schema):
    """The version of a classifier that answered."""

    id: str
    version: int


class ClassifyAnswer(Schema):
    """Answers in the order of the inputs."""

    usage: Tokens
    data: list[Classification]
    engine: Engine | None = Field(
        default=None,
        description="Present where the request has `engine`: which one answered; never `auto`.",
    )
    classifier: VersionReference | None = Field(
        default=None, description="Present where a classifier answered."
    )
    warnings: list[ClassifyWarning] = Field(
        default=[], description="Present where there are any: labels that mean the same to a model."
    )
