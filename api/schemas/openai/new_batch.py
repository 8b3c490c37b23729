"""The request for a new batch: OpenAI's fields, and Pigeonhole's in addition."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from api.schemas.openai.expiry import ExpiresAfter
from api.schemas.openai.row_request import Asking
from shared import output_names
from shared.batches import (
    MAX_SKIPPED_LINES,
    TRAIN,
    CsvForm,
    Kind,
    RowSource,
    delimiter_of,
    encoding_of,
)
from shared.dialects.metadata import Metadata
from shared.engine_resolution import Content
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
_OF_CSV_OUTPUT = ("csv_formulas", "csv_delimiter", "csv_decimal", "csv_bom")
_OF_ROWS = (*_OF_FILES, "output_format", *_OF_CSV_OUTPUT)


class BatchBody(Schema):
    """A batch over a file: plain rows with one question for all, or a request in each line."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    input_file_id: str | None = Field(
        None, description="Id of an uploaded file with the purpose `batch`."
    )
    input_url: str | None = Field(
        None,
        description="Instead of a file: `s3://bucket/key`, or a prefix that ends in `/` for all "
        "objects below it, in order. The operator allows the locations.",
    )
    input_items: Literal["image", "file"] | None = Field(
        None,
        description="With an `input_url` that ends in `/`: each object below it is one image or "
        "one document to classify, with its name as id, instead of a file of rows.",
    )
    endpoint: Endpoint = Field(
        "/v1/classify",
        description="Endpoint of each line or row; default `/v1/classify`.",
    )
    completion_window: str = Field(
        "24h",
        description=(
            "Time after which rows that have not begun expire: `30m`, `24h` (default), `3d`."
        ),
    )
    metadata: Metadata = None
    output_expires_after: ExpiresAfter | None = Field(
        None, description="When the output files are deleted."
    )
    classify: Asking | None = Field(
        None,
        description=(
            "A classify request without `input`, for all rows. Without it, each line is a request."
        ),
    )
    id_column: str | None = Field(
        None, description="Column or key with the id of a row; default: the row number."
    )
    id_columns: list[str] | None = Field(
        None,
        description=(
            "Instead of `id_column`: several columns whose values, joined by `/`, are the id."
        ),
    )
    text_column: str | None = Field(
        None, description="Column or key with the text to classify; default `text`."
    )
    image_column: str | None = Field(
        None,
        description="Instead of a text: column with images, by URL or in base64.",
    )
    file_column: str | None = Field(
        None,
        description="Instead of a text: column with documents, by URL, in base64, or by file id.",
    )
    input_format: Kind | None = Field(
        None, description="Detected if absent, as are `delimiter` and `encoding`."
    )
    delimiter: str | None = Field(None, description="Delimiter of a CSV: one character, or `tab`.")
    encoding: str | None = Field(
        None, description="Character encoding, such as `utf-8`, `utf-16` or `cp1252`."
    )
    skip_rows: int | None = Field(
        None,
        ge=0,
        le=MAX_SKIPPED_LINES,
        description="Number of lines above the header of a CSV, such as a title; default 0.",
    )
    output_format: Kind | None = Field(None, description="Default `jsonl`.")
    csv_formulas: Literal["keep", "escape"] | None = Field(
        None,
        description="For CSV output: `escape` puts a `'` before each text that begins with `=`, "
        "`+`, `-`, `@`, a tab or a carriage return, because a spreadsheet would run it "
        "as a formula; negative numbers stay. `keep` (default) leaves texts unchanged.",
    )
    csv_delimiter: str | None = Field(
        None, description="Delimiter of a CSV output: one character, or `tab`; default `,`."
    )
    csv_decimal: Literal[".", ","] | None = Field(
        None, description="Decimal separator of numbers in a CSV output; default `.`."
    )
    csv_bom: bool | None = Field(
        None,
        description="Begin a CSV output with a byte order mark, by which Excel recognises UTF-8.",
    )
    output_url: str | None = Field(
        None,
        description="Additional location of the output files: `s3://bucket/prefix/`. The operator "
        "allows the locations.",
    )

    output_name: str | None = Field(
        None,
        description=f"Template for the names of both files, with the placeholders `{{batch_id}}`, "
        f"`{{input_name}}`, `{{date}}`, `{{kind}}` (output, errors) and `{{ext}}`; "
        f"default `{output_names.DEFAULT}`. With an `output_url` it may have folders.",
    )

    @property
    def window_s(self) -> int:
        """The completion window."""
        return window_s(self.completion_window)

    @property
    def csv_form(self) -> CsvForm:
        """The form of a CSV output."""
        return CsvForm(
            delimiter=delimiter_of(self.csv_delimiter or ",") or ",",
            decimal=self.csv_decimal or ".",
            bom=bool(self.csv_bom),
        )

    @property
    def content(self) -> Content:
        """What the rows hold."""
        if self.image_column is not None or self.input_items == "image":
            return "images"
        return "texts" if self.file_column is None and self.input_items is None else "documents"

    def source(self, filename: str) -> RowSource:
        """The source of the rows. Requests are always JSON lines."""
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


def window_s(text: str) -> int:
    """A completion window in seconds.

    >>> window_s("24h")
    86400
    """
    match = _WINDOW.fullmatch(text)
    assert match is not None
    return int(match["count"]) * _UNITS_S[match["unit"]]


def parse(body: object, *, max_window_s: float) -> BatchBody:
    """Parse and validate the body of a new batch.

    Raises:
        InvalidRequest: A shape or value is wrong; names each place.
    """
    if not isinstance(body, dict):
        refuse("body", "must be a JSON object")
    try:
        parsed = BatchBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    _check_places(parsed)
    if parsed.classify is not None and parsed.endpoint == TRAIN:
        refuse("classify", f"is not allowed with {TRAIN}: there each line is a request of its own")
    _check_window(parsed, max_window_s)
    for field in _OF_ROWS:
        word = getattr(parsed, field)
        if word is None:
            continue
        if parsed.classify is None:
            refuse(field, "is only for plain rows: send `classify`, the question for all rows")
        if isinstance(word, str) and not 0 < len(word) <= _MAX_WORD_CHARS:
            refuse(field, f"must have 1 to {_MAX_WORD_CHARS} characters")
    if parsed.input_items is not None:
        _check_items(parsed)
    if parsed.id_columns is not None:
        _check_id_columns(parsed, parsed.id_columns)
    for field in ("delimiter", "csv_delimiter"):
        word = getattr(parsed, field)
        if word is not None and delimiter_of(word) is None:
            refuse(field, "must be one character, or `tab`; a quote or line end is not allowed")
    if parsed.encoding is not None and encoding_of(parsed.encoding) is None:
        refuse("encoding", "unsupported encoding; use one such as utf-8, utf-16 or cp1252")
    for field in _OF_CSV_OUTPUT:
        if getattr(parsed, field) is not None and parsed.output_format != "csv":
            refuse(field, "is only for output_format csv")
    if parsed.output_name is not None:
        _check_name(parsed, parsed.output_name)
    named = [field for field in _COLUMNS if getattr(parsed, field) is not None]
    if len(named) > 1:
        refuse(named[1], f"conflicts with {named[0]}: send only one of them")
    return parsed


def _check_places(body: BatchBody) -> None:
    if body.input_file_id is None and body.input_url is None:
        refuse("input_file_id", "is missing: send it, or `input_url`")
    if body.input_file_id is not None and body.input_url is not None:
        refuse("input_url", "conflicts with input_file_id: send only one of them")
    if body.output_url is not None and not body.output_url.endswith("/"):
        refuse("output_url", "must end in /: the files are written below it")


def _check_items(body: BatchBody) -> None:
    if body.input_url is None or not body.input_url.endswith("/"):
        refuse("input_items", "is only for an input_url that ends in /")
    if body.classify is None:
        refuse("classify", "is missing: it is the question for each object")
    for field in _OF_FILES:
        if getattr(body, field) is not None:
            refuse(field, "is only for files of rows, not for input_items")


def _check_name(body: BatchBody, template: str) -> None:
    fault = output_names.fault_of(template)
    if fault is not None:
        refuse("output_name", fault)
    if "/" in template and body.output_url is None:
        refuse("output_name", "has a folder (/), which needs an output_url")
    known = {"batch_id": "", "input_name": "", "date": ""}
    output = output_names.rendered(
        template, **known, kind="output", ext=body.output_format or "jsonl"
    )
    if output == output_names.rendered(template, **known, kind="errors", ext="jsonl"):
        refuse("output_name", "gives the output and the error file the same name: add {kind}")


def _check_id_columns(body: BatchBody, names: list[str]) -> None:
    if body.id_column is not None:
        refuse("id_columns", "conflicts with id_column: send only one of them")
    if not 0 < len(names) <= _MAX_ID_COLUMNS:
        refuse("id_columns", f"must name 1 to {_MAX_ID_COLUMNS} columns")
    for place, name in enumerate(names):
        if not 0 < len(name) <= _MAX_WORD_CHARS:
            refuse(f"id_columns[{place}]", f"must have 1 to {_MAX_WORD_CHARS} characters")
        if name in names[:place]:
            refuse(f"id_columns[{place}]", "is named twice; name each column once")


def _check_window(body: BatchBody, max_s: float) -> None:
    if _WINDOW.fullmatch(body.completion_window) is None:
        refuse("completion_window", "must be a number and a unit, such as 30m, 24h or 3d")
    if body.window_s > max_s:
        refuse("completion_window", f"may be at most {max_s / 3600:.0f}h, the retention of jobs")
