"""Feedback in the API: the true labels of items that a classifier has classified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared import ids
from shared.live_accuracy import DailyAccuracy, VersionDay
from shared.retraining import FeedbackItem
from shared.schema_base import ItemInput, Schema, as_list, bounded, one_kind
from shared.types import Example, Item
from shared.validation import refuse, translated

MAX_ITEMS = 1000
MAX_CHARS = 256
_MAX_VERSION = 10**8 - 1  # the keys of outcomes have 8 digits

_Input = Annotated[
    ItemInput,
    BeforeValidator(
        lambda value: one_kind({"text": value} if isinstance(value, str) else value),
        json_schema_input_type=str | ItemInput,
    ),
]


class FeedbackItemBody(Schema):
    """The true label of one item. With `input` it can be learnt; else it counts for accuracy."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: str | None = Field(
        None, description="An id of yours: feedback of the same id replaces it. Random if absent."
    )
    input: _Input | None = Field(None, description="The text or item that was classified.")
    request_id: str | None = Field(
        None, description="Instead of `input`: the request that classified it, with `predicted`."
    )
    index: int | None = Field(None, ge=0, description="Of the item in that request.")
    label: str = Field(description="The true label.")
    predicted: str | None = Field(None, description="What the classifier predicted.")
    version: int | None = Field(
        None, ge=1, le=_MAX_VERSION, description="The version that predicted it."
    )
    source: str = Field("", description="Where the feedback comes from, such as `agents`.")


class FeedbackBody(Schema):
    """Feedback on a classifier."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    items: Annotated[
        list[FeedbackItemBody],
        BeforeValidator(
            lambda value: bounded(as_list(value)),
            json_schema_input_type=FeedbackItemBody | list[FeedbackItemBody],
        ),
    ] = Field(description=f"1 to {MAX_ITEMS} items.")


class FeedbackAccepted(BaseModel):
    """The feedback that was stored."""

    object: Literal["list"]
    ids: list[str] = Field(description="The ids of the items, in their order.")


class FeedbackObject(BaseModel):
    """One item of feedback."""

    id: str
    text: str | None = Field(description="Null for an image, a document, or without an input.")
    label: str
    predicted: str | None
    version: int | None
    source: str
    created_at: datetime


class FeedbackList(BaseModel):
    """Items of feedback; `last_id` is the `after` of the next page."""

    object: Literal["list"]
    data: list[FeedbackObject]
    last_id: str | None
    has_more: bool


class DailyAccuracyObject(BaseModel):
    """The feedback of a day (UTC) on a version."""

    version: int
    date: date
    items: int = Field(description="Items of feedback with `predicted` and `version`.")
    correct: int
    accuracy: float


class FeedbackAccuracy(BaseModel):
    """The live accuracy of a classifier, by version and day; `last_id` is the next `after`."""

    object: Literal["list"]
    data: list[DailyAccuracyObject]
    last_id: str | None = Field(description="The last version and day, such as `2.2026-11-30`.")
    has_more: bool


class FeedbackDeleted(BaseModel):
    """Confirmation of a deletion."""

    message: str
    deleted: int


def parse_feedback(body: object, *, now: datetime) -> tuple[FeedbackItem, ...]:
    """Parse feedback.

    Raises:
        InvalidRequest: A field is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        parsed = FeedbackBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    if not 1 <= len(parsed.items) <= MAX_ITEMS:
        refuse("items", f"must hold 1 to {MAX_ITEMS} items, got {len(parsed.items)}")
    return tuple(_item(each, f"items[{i}]", now) for i, each in enumerate(parsed.items))


def render_feedback(items: Sequence[FeedbackItem], *, has_more: bool) -> dict[str, Any]:
    """A page of feedback."""
    return {
        "object": "list",
        "data": [
            {
                "id": each.id,
                "text": each.example.item.text or None if each.example else None,
                "label": each.label,
                "predicted": each.predicted,
                "version": each.version,
                "source": each.source,
                "created_at": each.created_at,
            }
            for each in items
        ],
        "last_id": items[-1].id if items else None,
        "has_more": has_more,
    }


def parse_version_day(text: str | None) -> VersionDay:
    """The version and day after which a page begins; before all of them if absent.

    Raises:
        InvalidRequest: It has not the form of `last_id`.

    >>> parse_version_day("2.2026-11-30")
    VersionDay(version=2, day=datetime.date(2026, 11, 30))
    """
    if text is None:
        return VersionDay(0, date.min)
    version, _, day = text.partition(".")
    wrong = "must be the `last_id` of the page before, such as `2.2026-11-30`"
    if not re.fullmatch("[0-9]{1,8}", version):
        refuse("after", wrong)
    try:
        return VersionDay(int(version), date.fromisoformat(day))
    except ValueError:
        refuse("after", wrong)


def render_accuracy(days: Sequence[DailyAccuracy], *, has_more: bool) -> dict[str, Any]:
    """A page of the live accuracy by version and day."""
    return {
        "object": "list",
        "data": [
            {
                "version": each.version,
                "date": each.day.isoformat(),
                "items": each.items,
                "correct": each.correct,
                "accuracy": round(each.correct / each.items, 6),
            }
            for each in days
        ],
        "last_id": f"{days[-1].version}.{days[-1].day}" if days else None,
        "has_more": has_more,
    }


def _item(body: FeedbackItemBody, place: str, now: datetime) -> FeedbackItem:
    for field in ("id", "request_id", "source"):
        if len(getattr(body, field) or "") > MAX_CHARS:
            refuse(f"{place}.{field}", f"at most {MAX_CHARS} characters are allowed: shorten it")
    if (body.input is None) == (body.request_id is None):
        refuse(f"{place}.input", "must be given, or `request_id` with `index` instead of it")
    if body.request_id is not None and (body.index is None or body.predicted is None):
        refuse(
            f"{place}.request_id",
            "needs `index` and `predicted`: requests are not stored, so that it counts for the "
            "accuracy only; send `input` to have it learnt",
        )
    label = body.label.strip()
    item: Item | None = None if body.input is None else body.input.item()
    return FeedbackItem(
        id=body.id or (f"{body.request_id}.{body.index}" if body.request_id else ids.token()),
        example=None if item is None else Example(item=item, label=label),
        label=label,
        predicted=body.predicted,
        version=body.version,
        source=body.source,
        created_at=now,
    )
