"""The rows of a file of examples, in order: each is an example or its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from shared.dialects.examples import ALabelled, AnExample, ExampleInput, example_of
from shared.errors import FieldError
from shared.types import Example, ExampleFile
from shared.validation import faults_of, refuse, shown
from workers.inputs.tables.column_mapping import name_of
from workers.inputs.tables.detect_format import format_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.reader import ParquetRows, read_rows
from workers.inputs.tables.row import Row, TableLimits

_HEAD_BYTES = 64 * 1024  # of which some are no blank
_MAX_BLANK = 65_536  # rows without a word that are passed over
_EVERY = 1000  # rows between two looks at the lease
_ROWS: dict[bool, TypeAdapter[ExampleInput]] = {
    True: TypeAdapter(ALabelled),
    False: TypeAdapter(AnExample),
}


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """One row: its example, or the faults that make it none. `id` is that of its column, if any."""

    place: str
    line: int
    example: Example | None
    faults: tuple[FieldError, ...] = ()
    id: str = ""


class ExampleRows:
    """The rows of one file.

    Args:
        file: How the file is written, and the columns of its examples.
        opened: Opens the file; called several times.
        bounds: Limits of a table.
        parquet_rows: Reads rows of Parquet.
        check: Raises where the work is to stop; called now and then.
        labelled: A row without a label is a fault.
        id_column: The column with the id of a row.
    """

    def __init__(
        self,
        file: ExampleFile,
        *,
        opened: Callable[[], BinaryIO],
        bounds: TableLimits,
        parquet_rows: ParquetRows,
        check: Callable[[], object],
        labelled: bool = True,
        id_column: str | None = None,
    ) -> None:
        self._file = file
        self._opened = opened
        self._bounds = bounds
        self._parquet_rows = parquet_rows
        self._check = check
        self._labelled = labelled
        self._id_column = id_column
        self._format = Format(kind="csv")
        named = {"text": file.text_column, "label": file.label_column}
        own = {name: name for name in ("num_iters", "weight") if name not in named.values()}
        self._columns = {**named, **own}  # the column of each field of an example

    def place(self, line: int) -> str:
        """Names a line or row, for an error."""
        return f"file {'row' if self._format.kind == 'parquet' else 'line'} {line}"

    def __iter__(self) -> Iterator[ExampleRow]:
        """The rows in order, without those of a table with nothing in them.

        Raises:
            InvalidRequest: The file is empty, lacks a column, or cannot be read to its end.
        """
        wanted = self._wanted()
        with self._opened() as stream:
            if not stream.read(_HEAD_BYTES).strip():
                refuse("file", "is empty: send JSONL or Parquet, or CSV with a header")
        declared = DeclaredFormat(
            format=self._file.format,
            delimiter=self._file.delimiter,
            encoding=self._file.encoding,
            skip_rows=self._file.skip_rows,
        )
        self._format = format_of(
            self._opened,
            filename=self._file.filename,
            declared=declared,
            wanted=wanted,
            bounds=self._bounds,
        )
        blank = 0
        with ExitStack() as held:
            stream = held.enter_context(self._opened())
            rows = read_rows(
                stream,
                self._format,
                bounds=self._bounds,
                wanted=wanted,
                parquet_rows=self._parquet_rows,
            )
            held.callback(rows.close)
            for row in rows:
                if row.number % _EVERY == 0:
                    self._check()
                if not self._is_blank(row):
                    yield self._row(row)
                    continue
                blank += 1
                if blank > _MAX_BLANK:
                    refuse(
                        self.place(row.line),
                        f"more than {_MAX_BLANK} rows without a word are too many: leave them out",
                    )

    def _wanted(self) -> RequestedColumns:
        required = {"text_column": self._columns["text"]}
        if self._labelled:
            required["label_column"] = self._columns["label"]
        optional = [name for name in self._columns.values() if name not in required.values()]
        if self._id_column is not None:
            optional.append(self._id_column)
        return RequestedColumns(required=required, optional=optional)

    def _is_blank(self, row: Row) -> bool:
        """Whether it is a row of a table with nothing in it, as spreadsheets write below theirs."""
        if row.data is None or self._format.kind == "jsonl":
            return False
        return all(
            value is None or (isinstance(value, str) and not value.strip())
            for value in row.data.values()
        )

    def _row(self, row: Row) -> ExampleRow:
        place = self.place(row.line)
        if row.data is None:
            assert row.fault is not None
            fault = FieldError(field=place, message=row.fault.message)
            return ExampleRow(place=place, line=row.line, example=None, faults=(fault,))
        own_id = name_of(row.data.get(self._id_column)) if self._id_column is not None else ""
        try:
            # The cells of a CSV are words: a number is read from them.
            fields = _ROWS[self._labelled].validate_python(
                self._fields(row.data), strict=self._format.kind == "jsonl"
            )
        except ValidationError as exc:
            faults = tuple(self._placed(fault, place) for fault in faults_of(exc))
            return ExampleRow(
                place=place, line=row.line, example=None, faults=faults, id=own_id or ""
            )
        return ExampleRow(place=place, line=row.line, example=example_of(fields), id=own_id or "")

    def _fields(self, data: dict[str, object]) -> dict[str, object]:
        """A row by the names that an example has for its fields."""
        if self._format.kind == "jsonl":
            keys = {**self._columns, "image": "image", "file": "file"}
            return {field: data[key] for field, key in keys.items() if key in data}
        required = {"text", "label"} if self._labelled else {"text"}
        fields: dict[str, object] = {}
        for field, name in self._columns.items():
            value = data.get(name)
            if field == "label" and not isinstance(value, str):
                # Classes are often numbers in Parquet; in CSV the same numbers are words.
                value = name_of(value) or None
            absent = value is None or (isinstance(value, str) and not value.strip())
            if not absent or (field in required and name in data):
                fields[field] = value
        return fields

    def _placed(self, fault: FieldError, place: str) -> FieldError:
        """A fault of a row, in the words of the file."""
        if fault.field != "body":
            place += f".{shown(self._columns.get(fault.field, fault.field))}"
        return FieldError(field=place, message=fault.message, type=fault.type)
