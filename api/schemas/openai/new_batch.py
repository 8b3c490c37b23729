"""The request for a batch, as clients of the OpenAI API send it, and what is ours beside it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from api.schemas.openai.expiry import ExpiresAfter
from api.schemas.openai.row_request import Asking
from shared import output_names
from shared.batches import MAX_SKIPPED_LINES, TRAIN, Kind, RowSource, delimiter_of, encoding_of
from shared.dialects.metadata import Metadata
from shared.schema_base import Schema
from shared.validation import refuse, translated

Endpoint = Literal["/v1/classify", "/v1/train"]
_WINDOW = re.compile(r"(?P<count>[1-9]\d{0,5})(?P<unit>[mhd])")
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}
_MAX_WORD_CHARS = 256
_MAX_ID_COLUMNS = 16
_COLUMNS = ("text_column", "image_column", "file_column")
_OF_FILES = (
    "id_column", "id_columns", *_COLUMNS, "input_format", "delimiter", "encoding", "skip_rows",
)  # fmt: skip
_OF_ROWS = (*_OF_FILES, "output_format", "csv_formulas")


class BatchBody(Schema):
    """A file to be worked through: rows with one question for all, or a request in each line."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    input_file_id: str | None = Field(
        None, description="The file, sent before with the purpose `batch`."
    )
    input_url: str | None = Field(
        None,
        description="Instead of a file: `s3://bucket/key`; with a `/` at its end all objects below "
        "it, one after the other. The operator says where that may be.",
    )
    input_items: Literal["image", "file"] | None = Field(
        None,
        description="With an `input_url` that ends in `/`: each object below it is one image, or "
        "one document, whose id is its name; not a file of rows.",
    )
    endpoint: Endpoint = Field(
        "/v1/classify",
        description="What each line, or each row, is sent to; `/v1/classify` if absent.",
    )
    completion_window: str = Field(
        "24h", description="What has not begun by then expires: `30m`, `24h` (if absent), `3d`."
    )
    metadata: Metadata = None
    output_expires_after: ExpiresAfter | None = Field(
        None, description="When the files that come out are deleted."
    )
    classify: Asking | None = Field(
        None, description="One question for all rows. Without it each line is a request."
    )
    id_column: str | None = Field(
        None, description="Which column, or key, says the id of a row; its number if absent."
    )
    id_columns: list[str] | None = Field(
        None,
        description="Instead of `id_column`: several that make the id together, joined by `/`.",
    )
    text_column: str | None = Field(
        None, description="Which column, or key, is classified; `text` if absent."
    )
    image_column: str | None = Field(
        None,
        description="Instead of a text: the column with images, by address or in base64.",
    )
    file_column: str | None = Field(
        None,
        description="Instead of a text: the column with documents, by address, in base64, or by "
        "the ids of files.",
    )
    input_format: Kind | None = Field(None, description="Found out if absent, as the next two.")
    delimiter: str | None = Field(None, description="Of a CSV: one character, or `tab`.")
    encoding: str | None = Field(None, description="Such as `utf-8`, `utf-16`, `cp1252`.")
    skip_rows: int | None = Field(
        None,
        ge=0,
        le=MAX_SKIPPED_LINES,
        description="Lines above the header of a CSV, such as a title; 0 if absent.",
    )
    output_format: Kind | None = Field(None, description="`jsonl` if absent.")
    csv_formulas: Literal["keep", "escape"] | None = Field(
        None,
        description="Of a CSV that comes out: `escape` puts a `'` before each text that begins "
        "with `=`, `+`, `-`, `@`, a tab or a carriage return, which a spreadsheet would take for "
        "a formula. `keep`, if absent, leaves texts as they are.",
    )
    output_url: str | None = Field(
        None,
        description="Where the files are written too: `s3://bucket/prefix/`. The operator says "
        "where that may be.",
    )

    output_name: str | None = Field(
        None,
        description="What both files are called, with `{batch_id}`, `{input_name}`, `{date}`, "
        f"`{{kind}}` (output, errors) and `{{ext}}` in it; `{output_names.DEFAULT}` if absent. "
        "With an `output_url` it may have folders.",
    )

    @property
    def window_s(self) -> int:
        """The completion window."""
        return window_s(self.completion_window)

    def source(self, filename: str) -> RowSource:
        """The file, and what is said of it. Requests are always lines of JSON."""
        return RowSource(
            object=self.input_file_id or "",
            url=self.input_url or "",
            items=self.input_items is not None,
            filename=filename,
            format="jsonl" if self.classify is None or self.input_items else self.input_format,
            delimiter=self.delimiter,
            encoding=self.encoding,
            skip_rows=self.skip_rows or 0,
        )


def window_s(said: str) -> int:
    """A completion window in seconds.

    >>> window_s("24h")
    86400
    """
    match = _WINDOW.fullmatch(said)
    assert match is not None
    return int(match["count"]) * _UNITS_S[match["unit"]]


def parse(body: object, *, max_window_s: float) -> BatchBody:
    """What a body says.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        said = BatchBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc, keyed=frozenset({"metadata"})) from None
    _check_places(said)
    if said.classify is not None and said.endpoint == TRAIN:
        refuse("classify", f"does not belong to {TRAIN}: there each line is a request of its own")
    _check_window(said, max_window_s)
    for field in _OF_ROWS:
        word = getattr(said, field)
        if word is None:
            continue
        if said.classify is None:
            refuse(
                field, "belongs to plain rows: send `classify`, which says what is asked of them"
            )
        if isinstance(word, str) and not 0 < len(word) <= _MAX_WORD_CHARS:
            refuse(field, f"must have 1 to {_MAX_WORD_CHARS} characters")
    if said.input_items is not None:
        _check_items(said)
    if said.id_columns is not None:
        _check_id_columns(said, said.id_columns)
    if said.delimiter is not None and delimiter_of(said.delimiter) is None:
        refuse("delimiter", "must be one character, no quote and no line end, or `tab`")
    if said.encoding is not None and encoding_of(said.encoding) is None:
        refuse("encoding", "is none that is read: name one such as utf-8, utf-16 or cp1252")
    if said.csv_formulas is not None and said.output_format != "csv":
        refuse("csv_formulas", "belongs to the output_format csv")
    if said.output_name is not None:
        _check_name(said, said.output_name)
    named = [field for field in _COLUMNS if getattr(said, field) is not None]
    if len(named) > 1:
        refuse(named[1], f"stands beside {named[0]}: rows hold one of them")
    return said


def _check_places(said: BatchBody) -> None:
    if said.input_file_id is None and said.input_url is None:
        refuse("input_file_id", "is missing: send it, or `input_url`")
    if said.input_file_id is not None and said.input_url is not None:
        refuse("input_url", "stands beside input_file_id; send one of them")
    if said.output_url is not None and not said.output_url.endswith("/"):
        refuse("output_url", "must end in /: the files are written below it")


def _check_items(said: BatchBody) -> None:
    if said.input_url is None or not said.input_url.endswith("/"):
        refuse("input_items", "belongs to an input_url that ends in /")
    if said.classify is None:
        refuse("classify", "is missing: say what is asked of each object")
    for field in _OF_FILES:
        if getattr(said, field) is not None:
            refuse(field, "belongs to files of rows; with input_items there are none")


def _check_name(said: BatchBody, template: str) -> None:
    fault = output_names.fault_of(template)
    if fault is not None:
        refuse("output_name", fault)
    if "/" in template and said.output_url is None:
        refuse("output_name", "has a /, for a folder below an output_url; there is none here")
    known = {"batch_id": "", "input_name": "", "date": ""}
    output = output_names.rendered(
        template, **known, kind="output", ext=said.output_format or "jsonl"
    )
    if output == output_names.rendered(template, **known, kind="errors", ext="jsonl"):
        refuse("output_name", "gives the output and the error file one name: add {kind}")


def _check_id_columns(said: BatchBody, names: list[str]) -> None:
    if said.id_column is not None:
        refuse("id_columns", "stands beside id_column; send one of them")
    if not 0 < len(names) <= _MAX_ID_COLUMNS:
        refuse("id_columns", f"must name 1 to {_MAX_ID_COLUMNS} columns")
    for place, name in enumerate(names):
        if not 0 < len(name) <= _MAX_WORD_CHARS:
            refuse(f"id_columns[{place}]", f"must have 1 to {_MAX_WORD_CHARS} characters")
        if name in names[:place]:
            refuse(f"id_columns[{place}]", "is named before; name each column once")


def _check_window(said: BatchBody, max_s: float) -> None:
    if _WINDOW.fullmatch(said.completion_window) is None:
        refuse("completion_window", "must be a number and a unit, such as 30m, 24h or 3d")
    if said.window_s > max_s:
        refuse("completion_window", f"may be {max_s / 3600:.0f}h at most: jobs are kept no longer")
