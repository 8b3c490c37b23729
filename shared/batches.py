"""Batches: values of requests, plans, parts and results, as stored and as held in jobs.

A batch is planned first: the file is read once to its end, every row is validated, and `plan.json`
holds the outcome. Then the plan cuts parts, a few at a time; each part is an object that one worker
processes, and so is its result. Finalising assembles the results of all parts.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from shared import ids, output_names
from shared.output_names import FileKind
from shared.types import ClassifyRequest, Failure, JobRequest, JobResult, LabelsAlike, Usage, Value

Kind = Literal["jsonl", "csv", "parquet"]
RetryRows = Literal["retryable", "all"]
CLASSIFY = "/v1/classify"
TRAIN = "/v1/train"
MAX_SKIPPED_LINES = 1000  # lines above the header of a CSV


_ASCII = "".join(map(chr, range(128)))


def encoding_of(name: str) -> str | None:
    """Python's name of a supported encoding: Unicode, or any in which ASCII bytes are ASCII.

    >>> encoding_of("Latin-1"), encoding_of("utf-8-sig"), encoding_of("cp037"), encoding_of("hex")
    ('iso8859-1', 'utf-8', None, None)
    """
    with suppress(LookupError, ValueError):
        codec = codecs.lookup(name).name
        if codec.startswith(("utf-16", "utf-32")) or _ASCII.encode().decode(codec) == _ASCII:
            return codec.removesuffix("-sig")
    return None


def delimiter_of(text: str) -> str | None:
    r"""The delimiter of a CSV: one character that is not a quote or line end; None if invalid.

    >>> delimiter_of("tab"), delimiter_of("\\t"), delimiter_of(";"), delimiter_of("||")
    ('\t', '\t', ';', None)
    """
    delimiter = "\t" if text in ("tab", "\\t") else text
    return delimiter if len(delimiter) == 1 and delimiter not in '"\r\n\0' else None


class RowSource(Value):
    """Location of the rows: an object of the service, or of a bucket that the operator allows.

    With `items`, the objects below `url` are not files of rows: each is one item.
    """

    object: str = ""
    url: str = ""
    items: bool = False
    filename: str = ""
    format: Kind | None = None  # None: detected, as are the next two
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0  # lines above the header of a CSV


class ColumnMapping(Value):
    """Plain rows with one question for all: the columns, and the request for each row."""

    id_column: str | None = None
    id_columns: tuple[str, ...] = ()  # alternative to `id_column`: several make the id
    text_column: str = "text"
    image_column: str | None = None  # instead of a text column
    file_column: str | None = None  # instead of a text column
    ask: ClassifyRequest  # without items
    tokens: bool = False  # whether each line of the output has the tokens of its input

    @property
    def ids(self) -> dict[str, str]:
        """The id columns of a row, by the request fields that name them; empty: the row number is
        the id.

        Without any, the row's number is its id.
        """
        if self.id_column is not None:
            return {"id_column": self.id_column}
        return {f"id_columns[{place}]": name for place, name in enumerate(self.id_columns)}

    @property
    def media(self) -> bool:
        """Whether images or documents are classified."""
        return self.holds != "text"

    @property
    def holds(self) -> Literal["text", "image", "file"]:
        """The kind of input of each row."""
        if self.image_column:
            return "image"
        return "file" if self.file_column else "text"

    @property
    def column(self) -> str:
        """The column of the input."""
        return self.image_column or self.file_column or self.text_column


class CsvForm(Value):
    """How a CSV output is written; the defaults are those of RFC 4180, in UTF-8."""

    delimiter: str = ","
    decimal: Literal[".", ","] = "."  # of numbers
    bom: bool = False  # a byte order mark, by which Excel recognises UTF-8


class BatchRequest(JobRequest):
    """A batch over a file. Without `rows`, each line is a request to `endpoint`."""

    kind: Literal["batch"] = "batch"
    source: RowSource
    endpoint: str = CLASSIFY
    rows: ColumnMapping | None = None
    output_format: Kind = "jsonl"
    escape_formulas: bool = False  # CSV output: prevents that a spreadsheet runs texts as formulas
    csv_form: CsvForm = CsvForm()
    output_url: str = ""
    output_name: str = ""  # template of both file names; empty: `output_names.DEFAULT`
    completion_window: str = "24h"
    deadline: float | None = None  # seconds since 1970; rows that have not begun by then expire
    max_rows: int | None = None  # rows that the tier of the account leaves; None: no limit
    metadata: dict[str, str] = Field(default_factory=dict)
    output_keep_s: float | None = None
    output_file: str = ""  # ids of the files, which are created if they are not empty
    error_file: str = ""
    retry_of: str = ""  # the job whose failed rows are run again
    retry_rows: RetryRows = "all"  # or only the retryable ones
    origin: str = ""  # the first job of a chain of retries; side effects of lines belong to it

    @property
    def queue_model(self) -> str:
        """The model in whose queue it waits: `model`, also if its lines are for two."""
        return self.model

    def extension_of(self, kind: FileKind) -> Kind:
        """Extension and format of one of the two files."""
        return self.output_format if kind == "output" else "jsonl"

    def file_name(self, kind: FileKind, *, job_id: str, created_at: datetime) -> str:
        """Name of one of the two files, relative to `output_url`; it may have several segments."""
        template = self.output_name or output_names.DEFAULT
        return output_names.rendered(
            output_names.for_retry(template) if self.retry_of else template,
            batch_id=ids.batch_id_of(job_id),
            input_name=output_names.input_name(url=self.source.url, filename=self.source.filename),
            date=created_at.astimezone(UTC).date().isoformat(),
            kind=kind,
            ext=self.extension_of(kind),
        )


class Input(Value):
    """An object that a batch reads, with its ETag and size at the time of planning."""

    url: str
    etag: str
    rows: int | None = None  # None until it was read to its end
    lines: int = 0  # number of lines before its last row


class BatchInputs(Value):
    """The objects of a batch, in order, as one table."""

    objects: tuple[Input, ...]


class BadRow(Value):
    """A failed row. `line` is its line in the input file, from 1."""

    line: int
    code: str
    message: str
    param: str | None = None
    retryable: bool = False


class Plan(Value):
    """The outcome of reading a file to its end, and how far it was cut into parts.

    Every request for a batch reads it, so it stays small: `bad` holds the first bad rows only, and
    the bitmap of rows with a repeated id (`repeated` counts them) is a separate object.
    """

    format: str
    total: int  # rows to process: all of the file, or fewer in a retry
    bad_count: int
    bad: tuple[BadRow, ...] = ()
    repeated: int = 0
    rows_per_part: int
    rows_in_file: int = 0
    rows_read: int = 0  # rows of the file up to the last part
    parts: int = 0

    @property
    def cut(self) -> bool:
        """Whether all parts were cut."""
        return self.rows_read == self.rows_in_file


class PartReport(Value):
    """The report of a part, in the first line of its result and in the ledger.

    `output_bytes` of lines for the output file follow in the result, then lines for the error file.
    `codes` counts errors by code. `done` are the rows that succeeded, `final` the failed rows that
    are not retryable, as ranges of row numbers with both ends included; the ledger omits both.
    """

    completed: int
    failed: int
    usage: Usage = Usage()
    output_bytes: int
    codes: dict[str, int] = Field(default_factory=dict)
    done: tuple[tuple[int, int], ...] = ()
    final: tuple[tuple[int, int], ...] = ()
    alike: tuple[LabelsAlike, ...] = ()  # labels of plain rows; the ledger omits them

    @property
    def short(self) -> PartReport:
        """The report as stored in the ledger."""
        return self.model_copy(update={"done": (), "final": (), "alike": ()})


class DryRunRequest(JobRequest):
    """A batch whose file is only validated."""

    kind: Literal["dry_run"] = "dry_run"
    batch: BatchRequest


class DryRunResult(JobResult):
    """The forecast of a batch. Without a `format` the file cannot be read, and `error` says why.

    `tokens` is the sum over all rows if `exact`, else an estimate from `sampled` rows. `seconds` is
    an estimate from the recent rate of the running workers; None if unknown.
    """

    error: Failure | None = None
    format: str | None = None
    total: int = 0
    bad_count: int = 0
    bad: tuple[BadRow, ...] = ()
    tokens: int = 0
    sampled: int = 0
    exact: bool = True
    seconds: float | None = None
    usage: Usage = Usage()  # a dry run is free of charge


class BatchResult(JobResult):
    """The result of a batch. A file is named only if it is not empty; the same holds for its URL.

    `undelivered` says why a file could not be written to `output_url`. `retryable` counts the
    failed rows that a retry can cure; None in results of versions without the field.
    """

    output_file: str | None = None
    error_file: str | None = None
    output_url: str | None = None
    error_url: str | None = None
    undelivered: Failure | None = None
    usage: Usage = Usage()
    codes: dict[str, int] = Field(default_factory=dict)
    retryable: int | None = None
    alike: tuple[LabelsAlike, ...] = ()


def distinct(alike: Iterable[LabelsAlike]) -> tuple[LabelsAlike, ...]:
    """Each pair of labels once, in order: parts find the same, with cosines that may differ."""
    return tuple({(each.group, each.labels): each for each in alike}.values())


class StoredFile(Value):
    """The record of a stored file; the file exists once it is written. Times in s since 1970."""

    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None = None


UPLOAD_RETENTION_S = 86400.0


class MultipartUpload(Value):
    """A file that is sent in upload parts, until it is completed. Times in seconds since 1970."""

    id: str
    status: Literal["pending", "completed", "cancelled"] = "pending"
    purpose: str
    filename: str
    bytes: int  # declared size; the parts must have the same together
    created_at: float
    file_keep_s: float  # the name that is stored
    part_ids: tuple[str, ...] = ()  # the parts of the completed file, in order
    file_id: str = ""

    @property
    def expires_at(self) -> float:
        """When the upload and its parts are deleted; the completed file stays."""
        return self.created_at + UPLOAD_RETENTION_S
