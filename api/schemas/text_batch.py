"""Batches of texts in the format of the Classer API: request, status, result lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, RootModel

from api.schemas.example_file import with_file
from shared.dialects.classer_request import (
    LabelsFields,
    TagFields,
    Urgency,
    read,
    request_of,
    threshold_of,
)
from shared.dialects.requested import UnresolvedRequest
from shared.schema_base import Schema
from shared.types import Item
from shared.validation import refuse

Status = Literal["pending", "processing", "completed", "failed"]
_DECIMALS = 4
_NOT_OF_ROWS = ("text", "texts", "image", "file")
_EMPTY_LINE = {"error": "the line is empty"}
_encode = msgspec.json.Encoder().encode


class NewTextBatchBody(LabelsFields, TagFields):
    """By what each text of a batch is classified, or tagged with `mode: "multi"`."""

    mode: Literal["single", "multi"] | None = Field(
        None, description="`single` (default): the best label; `multi`: those above `threshold`."
    )
    priority: Urgency | None = Field(
        None, description="Accepted as in calls; a batch always runs behind the calls that wait."
    )
    cache: bool | None = Field(
        None,
        description="Whether answers to equal texts may be given again; not by default in a batch.",
    )

    def ask(self, default_model: str) -> UnresolvedRequest:
        """The request for each text, with one text that stands for all.

        Raises:
            PigeonholeError: The labels, or what is said of them, are wrong.
        """
        threshold = threshold_of(self) if self.mode == "multi" else None
        items = (Item(text="any text"),)
        return request_of(self, default_model=default_model, items=items, threshold=threshold)


class NewTextBatch(Schema):
    """Where the texts go: a form with `upload_fields` and the file as `file`, as JSON lines."""

    job_id: str
    upload_url: str = Field(description="Takes the form without a key, for an hour.")
    upload_fields: dict[str, str] = Field(description="Fields of the form, before the file.")
    input_key: str


class StartedTextBatch(Schema):
    """A batch that was started."""

    job_id: str
    status: Literal["processing"]


class TextBatchObject(Schema):
    """A batch of texts as it stands. Times are RFC 3339."""

    job_id: str
    status: Status
    requests_total: int
    requests_completed: int
    requests_failed: int
    estimated_tokens: int = Field(description="A quarter of the bytes of the input.")
    actual_tokens: int = Field(description="Zero until the batch has ended.")
    created_at: str
    started_at: str | None
    completed_at: str | None
    error: str | None


class TextBatchList(RootModel[list[TextBatchObject]]):
    """The newest batches of texts, newest first."""


class UploadTextsBody(BaseModel):
    """A form with the texts, one JSON object with a `text` on each line."""

    model_config = ConfigDict(json_schema_extra=with_file("The texts, as JSON lines."))


class TextBatchResults(Schema):
    """Where the results are: JSON lines, one for each line of the input, in its order."""

    job_id: str
    download_url: str = Field(description="Needs no key, for an hour.")


class DeletedTextBatch(Schema):
    """A batch that was deleted, with its input and its results."""

    job_id: str
    deleted: Literal[True]


def parse_new(body: object) -> NewTextBatchBody:
    """What a body says.

    Raises:
        PigeonholeError: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    for field in _NOT_OF_ROWS:
        if field in body:
            refuse(field, "is not allowed here: the texts are uploaded as a file of JSON lines")
    fields: NewTextBatchBody = read(NewTextBatchBody, body)
    if fields.threshold is not None and fields.mode != "multi":
        refuse("threshold", 'is only for mode "multi"')
    return fields


def result_lines(lines: Iterable[dict[str, Any]], *, multi: bool) -> Iterator[bytes]:
    """One line of results for each line of the input.

    Args:
        lines: Of the output file and the error file of a batch of plain rows, by `line`.
        multi: Whether each text has several labels.
    """
    expected = 1
    for line in lines:
        for _ in range(expected, line["line"]):
            yield _encode(_EMPTY_LINE) + b"\n"
        expected = line["line"] + 1
        yield _encode(_result(line, multi)) + b"\n"


def _result(line: dict[str, Any], multi: bool) -> dict[str, Any]:
    if "error" in line:
        error = line["error"]
        field = error["param"]
        named = field is None or error["message"].startswith(field)
        return {"error": error["message"] if named else f"{field}: {error['message']}"}
    tokens = line["tokens"]
    if not multi:
        confidence = round(line["score"], _DECIMALS)
        return {"label": line["prediction"], "confidence": confidence, "tokens": tokens}
    scored = sorted(line["predictions"], key=lambda each: -each["score"])
    labels = [
        {"label": each["label"], "confidence": round(each["score"], _DECIMALS)} for each in scored
    ]
    return {"labels": labels, "tokens": tokens}
