"""Batches: a file of rows or of requests, worked through in parts. The values, at rest and in jobs.

planned: the file is read once to its end, every row is judged, `plan.json` says what was found;
then parts are cut, some at a time, and each becomes an object that one worker works through.
A part's result is one object too. The end puts the results of all parts together.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.types import ClassifyRequest, Usage, Value

Kind = Literal["jsonl", "csv", "parquet"]


class Source(Value):
    """Where the rows are: an object of ours, or one of a bucket that the operator allows."""

    object: str = ""
    url: str = ""
    filename: str = ""
    format: Kind | None = None  # None: sniffed, as are the next two
    delimiter: str | None = None
    encoding: str | None = None


class Rows(Value):
    """Plain rows with one question for all: which columns are meant, and what is asked of each."""

    id_column: str | None = None  # None: the row's number is its id
    text_column: str = "text"
    ask: ClassifyRequest  # without items


class BatchRequest(Value):
    """A file to be worked through. Without `rows`, each line is a request to `endpoint`."""

    kind: Literal["batch"] = "batch"
    model: str  # routes the batch to the queue of a device
    source: Source
    endpoint: str = "/v1/classify"
    rows: Rows | None = None
    output_format: Kind = "jsonl"
    output_url: str = ""
    completion_window: str = "24h"
    deadline: float | None = None  # seconds since 1970; what has not begun by then expires
    metadata: dict[str, str] = Field(default_factory=dict)
    output_keep_s: float | None = None
    output_file: str = ""  # ids that the files get if they hold something
    error_file: str = ""


class BadRow(Value):
    """A row that cannot be worked on. `line` counts from 1, in the file as it was sent."""

    line: int
    code: str
    message: str
    param: str | None = None


class Cut(Value):
    """A part: rows of the file, in order."""

    first: int  # index of its first row, from 0
    rows: int


class Plan(Value):
    """What is known of a file once it was read to its end; and the parts cut so far.

    `bad` holds the first bad rows only; `duplicates` the indices of rows whose id came before.
    """

    format: str
    total: int
    bad_count: int
    bad: tuple[BadRow, ...] = ()
    duplicates: tuple[int, ...] = ()
    rows_per_part: int
    cuts: tuple[Cut, ...] = ()

    @property
    def rows_cut(self) -> int:
        """How many rows are in parts."""
        return self.cuts[-1].first + self.cuts[-1].rows if self.cuts else 0


class PartReport(Value):
    """What a part says of itself, in the first line of its result and in the ledger.

    The result goes on with `output_bytes` of lines for the output file, then those for the errors.
    `codes` counts the errors by their codes.
    """

    completed: int
    failed: int
    usage: Usage = Usage()
    output_bytes: int
    codes: dict[str, int] = Field(default_factory=dict)


class BatchResult(Value):
    """What came out. A file is named only if it holds something."""

    output_file: str | None = None
    error_file: str | None = None
    usage: Usage = Usage()
    codes: dict[str, int] = Field(default_factory=dict)


class File(Value):
    """What is known of a file: it is there once this is written. Times in seconds since 1970."""

    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None = None
