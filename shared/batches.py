"""Batches: a file of rows or of requests, worked through in parts. The values, at rest and in jobs.

planned: the file is read once to its end, every row is judged, `plan.json` says what was found;
then parts are cut, some at a time, and each becomes an object that one worker works through.
A part's result is one object too. The end puts the results of all parts together.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from shared import ids, output_names
from shared.output_names import FileKind
from shared.types import ClassifyRequest, Failure, JobRequest, JobResult, Usage, Value

Kind = Literal["jsonl", "csv", "parquet"]
RetryRows = Literal["retryable", "all"]
CLASSIFY = "/v1/classify"
TRAIN = "/v1/train"
MAX_SKIPPED_LINES = 1000  # above the header of a CSV


_ASCII = "".join(map(chr, range(128)))


def encoding_of(said: str) -> str | None:
    """Python's name of an encoding that is read: one of Unicode, or in which ASCII is ASCII.

    >>> encoding_of("Latin-1"), encoding_of("utf-8-sig"), encoding_of("cp037"), encoding_of("hex")
    ('iso8859-1', 'utf-8', None, None)
    """
    with suppress(LookupError, ValueError):
        name = codecs.lookup(said).name
        if name.startswith(("utf-16", "utf-32")) or _ASCII.encode().decode(name) == _ASCII:
            return name.removesuffix("-sig")
    return None


def delimiter_of(said: str) -> str | None:
    r"""The delimiter of a CSV that is meant: a character, no quote and no line end.

    >>> delimiter_of("tab"), delimiter_of("\\t"), delimiter_of(";"), delimiter_of("||")
    ('\t', '\t', ';', None)
    """
    delimiter = "\t" if said in ("tab", "\\t") else said
    return delimiter if len(delimiter) == 1 and delimiter not in '"\r\n\0' else None


class RowSource(Value):
    """Where the rows are: an object of ours, or one of a bucket that the operator allows.

    With `items` the objects below `url` are not files of rows: each is one thing to classify.
    """

    object: str = ""
    url: str = ""
    items: bool = False
    filename: str = ""
    format: Kind | None = None  # None: sniffed, as are the next two
    delimiter: str | None = None
    encoding: str | None = None
    skip_rows: int = 0  # lines above the header of a CSV


class ColumnMapping(Value):
    """Plain rows with one question for all: which columns are meant, and what is asked of each."""

    id_column: str | None = None
    id_columns: tuple[str, ...] = ()  # instead of one: several make the id
    text_column: str = "text"
    image_column: str | None = None  # instead of a text
    file_column: str | None = None  # the same
    ask: ClassifyRequest  # without items

    @property
    def ids(self) -> dict[str, str]:
        """The columns that make the id of a row, by the fields that name them.

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
        """What is classified."""
        if self.image_column:
            return "image"
        return "file" if self.file_column else "text"

    @property
    def column(self) -> str:
        """The column that holds what is classified."""
        return self.image_column or self.file_column or self.text_column


class BatchRequest(JobRequest):
    """A file to be worked through. Without `rows`, each line is a request to `endpoint`."""

    kind: Literal["batch"] = "batch"
    source: RowSource
    endpoint: str = CLASSIFY
    rows: ColumnMapping | None = None
    output_format: Kind = "jsonl"
    escape_formulas: bool = False  # of a CSV: what a spreadsheet would take for a formula is text
    output_url: str = ""
    output_name: str = ""  # of both files, a template; empty: `output_names.DEFAULT`
    completion_window: str = "24h"
    deadline: float | None = None  # seconds since 1970; what has not begun by then expires
    metadata: dict[str, str] = Field(default_factory=dict)
    output_keep_s: float | None = None
    output_file: str = ""  # ids that the files get if they hold something
    error_file: str = ""
    retry_of: str = ""  # the job whose rows that did not come out are run again
    retry_rows: RetryRows = "all"  # or only those that a retry can cure
    origin: str = ""  # the first job of a row of retries: what a line has done, it did for this one

    def extension_of(self, kind: FileKind) -> Kind:
        """The ending, and format, of one of the two files."""
        return self.output_format if kind == "output" else "jsonl"

    def file_name(self, kind: FileKind, *, job_id: str, created_at: datetime) -> str:
        """What one of the two files is called, below `output_url`: it may have several segments."""
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
    """An object that a batch reads: as it was when the batch was planned, and what it then held."""

    url: str
    etag: str
    rows: int | None = None  # None until it was read to its end
    lines: int = 0  # up to that where its last row begins


class BatchInputs(Value):
    """What a batch reads, in order, as one table."""

    objects: tuple[Input, ...]


class BadRow(Value):
    """A row that did not come out. `line` counts from 1, in the file as it was sent."""

    line: int
    code: str
    message: str
    param: str | None = None
    retryable: bool = False


class Plan(Value):
    """What is known of a file once it was read to its end; and how far it was cut into parts.

    It is read with every look at a batch, so it stays small: `bad` holds the first bad rows only,
    and which rows have an id that came before (`repeated` counts them) is an object of its own.
    """

    format: str
    total: int  # rows that the batch is about: all of the file, but for a retry
    bad_count: int
    bad: tuple[BadRow, ...] = ()
    repeated: int = 0
    rows_per_part: int
    rows_in_file: int = 0
    rows_read: int = 0  # of the file, up to the last part
    parts: int = 0

    @property
    def cut(self) -> bool:
        """Whether there are no more parts."""
        return self.rows_read == self.rows_in_file


class PartReport(Value):
    """What a part says of itself, in the first line of its result and in the ledger.

    The result goes on with `output_bytes` of lines for the output file, then those for the errors.
    `codes` counts the errors by their codes. `done` are the rows that came out, `final` those that
    failed and that no retry cures, by their numbers, as ranges with both ends; the ledger does
    without them.
    """

    completed: int
    failed: int
    usage: Usage = Usage()
    output_bytes: int
    codes: dict[str, int] = Field(default_factory=dict)
    done: tuple[tuple[int, int], ...] = ()
    final: tuple[tuple[int, int], ...] = ()

    @property
    def short(self) -> PartReport:
        """The report as the ledger keeps it."""
        return self.model_copy(update={"done": (), "final": ()})


class DryRunRequest(JobRequest):
    """A batch of which only its file is judged."""

    kind: Literal["dry_run"] = "dry_run"
    batch: BatchRequest


class DryRunResult(JobResult):
    """What would become of a batch; without a `format` its file cannot be read, as `error` says.

    `tokens` are counted row by row where they are `exact`, else in `sampled` rows. `seconds` are
    by what the living workers have done of late, None where that is not known.
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
    usage: Usage = Usage()  # it costs nothing


class BatchResult(JobResult):
    """What came out. A file is named only if it holds something; so is where else it stands.

    `undelivered` says why a file could not be written where it was asked for. `retryable` counts
    the failed rows that a retry can cure; None in results of versions that did not count them.
    """

    output_file: str | None = None
    error_file: str | None = None
    output_url: str | None = None
    error_url: str | None = None
    undelivered: Failure | None = None
    usage: Usage = Usage()
    codes: dict[str, int] = Field(default_factory=dict)
    retryable: int | None = None


class StoredFile(Value):
    """What is known of a file: it is there once this is written. Times in seconds since 1970."""

    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None = None


UPLOAD_KEPT_S = 86400.0


class MultipartUpload(Value):
    """A file that is sent in parts, until it is whole. Times in seconds since 1970."""

    id: str
    status: Literal["pending", "completed", "cancelled"] = "pending"
    purpose: str
    filename: str
    bytes: int  # announced; the parts must have as many
    created_at: float
    file_keep_s: float  # the name that is stored
    part_ids: tuple[str, ...] = ()  # that the file was made of
    file_id: str = ""

    @property
    def expires_at(self) -> float:
        """From when on there is no such upload any more, nor its parts; a file made of it stays."""
        return self.created_at + UPLOAD_KEPT_S
