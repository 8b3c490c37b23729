"""Examples out of the file of a train or evaluate call: read as the rows of a batch are.

A fault names its line, as an editor counts, or its row where a format has no lines. All that is
wrong is named in one answer, as far as a person reads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from shared.dialects.examples import ALabelled, AnExample, ExampleInput, example_of
from shared.errors import FieldError, InvalidRequest, ObjectMissing, TokenLimitExceeded
from shared.jobs import Job
from shared.limits import Limits
from shared.model_catalogue import Catalogue
from shared.ports import ObjectStore
from shared.request_resolution import examples_for, model_for
from shared.schema_base import MAX_ENTRIES
from shared.types import EvaluateRequest, Example, ExampleFile, TrainRequest
from shared.validation import MAX_SHOWN, faults_of, invalid, refuse, shown
from workers.inputs.tables import parquet
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
class ExampleFiles:
    """Completes requests whose examples are in a file on the store."""

    store: ObjectStore
    catalogue: Catalogue
    limits: Limits
    bounds: TableLimits
    parquet_rows: ParquetRows = parquet.rows

    def training(
        self, job: Job, request: TrainRequest, check: Callable[[], object]
    ) -> TrainRequest:
        """The request with the examples of its file, or as it is where it has none.

        Args:
            job: Its job.
            request: What is asked.
            check: Raises where the work is to stop; called now and then.

        Raises:
            InvalidRequest: The file cannot be read, or a line holds what the limits refuse.
            PigeonholeError: What the limits refuse of all examples together.
        """
        if request.file is None:
            return request
        reading = _ExampleRead(request.file, self, check, judge=self._judge_example)
        examples = reading.examples()
        model = request.model
        if request.file.default_model and request.create is not None:
            model = model_for([example.item for example in examples], self.catalogue).name
        found = request.model_copy(update={"examples": examples, "model": model})
        self.limits.check_training(found, place=reading.place)
        return found.model_copy(update={"examples": self._looked_up(job, model, examples)})

    def evaluation(
        self, job: Job, request: EvaluateRequest, check: Callable[[], object]
    ) -> EvaluateRequest:
        """The request with the examples of its file, as `training`; labels may be missing.

        Raises:
            InvalidRequest: The file cannot be read, or a line holds what the limits refuse.
        """
        if request.file is None:
            return request
        reading = _ExampleRead(request.file, self, check, labelled=False)
        examples = reading.examples()
        found = request.model_copy(update={"examples": examples})
        self.limits.check_evaluation(found, place=reading.place)
        return found.model_copy(update={"examples": self._looked_up(job, request.model, examples)})

    def _looked_up(
        self, job: Job, model: str, examples: tuple[Example, ...]
    ) -> tuple[Example, ...]:
        return examples_for(
            examples,
            model=model,
            account=job.account,
            catalogue=self.catalogue,
            store=self.store,
        )

    def _judge_example(self, example: Example, place: str) -> None:
        """Refuse an example that is wrong by itself.

        Raises:
            InvalidRequest: It is.
        """
        # An update with one iteration, for which nothing is asked but of the example.
        alone = TrainRequest(model="", classifier_id="", num_iters=1, examples=(example,))
        with suppress(TokenLimitExceeded):  # an error of another code, which the whole call ends in
            self.limits.check_training(alone, place=lambda _: place)


class _ExampleRead:
    """One file as it is read.

    Args:
        file: Where it lies, and what the request says of it.
        files: The store and the bounds.
        check: Raises where the work is to stop.
        judge: Raises InvalidRequest about an example, called by its place, that is wrong although
            it can be read: it is named among the broken lines.
        labelled: Refuse an example without a label.
    """

    def __init__(
        self,
        file: ExampleFile,
        files: ExampleFiles,
        check: Callable[[], object],
        *,
        judge: Callable[[Example, str], None] = lambda *_: None,
        labelled: bool = True,
    ) -> None:
        self._file = file
        self._store = files.store
        self._bounds = files.bounds
        self._parquet_rows = files.parquet_rows
        self._check = check
        self._judge = judge
        self._labelled = labelled
        self._format = Format(kind="csv")
        self._lines: list[int] = []
        named = {"text": file.text_column, "label": file.label_column}
        own = {name: name for name in ("num_iters", "weight") if name not in named.values()}
        self._columns = {**named, **own}  # the column of each field of an example

    def place(self, index: int) -> str:
        """Where an example stands, for an error."""
        return self._place(self._lines[index])

    def examples(self) -> tuple[Example, ...]:
        """The examples of the file.

        Raises:
            InvalidRequest: Broken lines, by number; the file is empty, lacks a column, or holds
                more examples than are read.
        """
        wanted = self._wanted()
        with self._opened() as stream:
            if not stream.read(_HEAD_BYTES).strip():
                refuse("file", "is empty: send JSONL or Parquet, or CSV with a header")
        said = DeclaredFormat(
            format=self._file.format,
            delimiter=self._file.delimiter,
            encoding=self._file.encoding,
            skip_rows=self._file.skip_rows,
        )
        self._format = format_of(
            self._opened,
            filename=self._file.filename,
            said=said,
            wanted=wanted,
            bounds=self._bounds,
        )
        found: list[Example] = []
        faults: list[FieldError] = []
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
                if self._is_blank(row):
                    blank += 1
                    if blank > _MAX_BLANK:
                        refuse(
                            self._place(row.line),
                            f"more than {_MAX_BLANK} rows without a word are too many: leave them "
                            "out",
                        )
                    continue
                example = self._example(row, faults)
                if example is not None:
                    found.append(example)
                    self._lines.append(row.line)
                    try:
                        self._judge(example, self._place(row.line))
                    except InvalidRequest as exc:
                        faults += exc.fields
                if len(found) > MAX_ENTRIES:
                    message = f"at most {MAX_ENTRIES} examples are read; split the file"
                    refuse(self._place(row.line), message)
                if len(faults) >= MAX_SHOWN:
                    break  # enough to see what is wrong
        if faults:
            raise invalid(faults)
        if not found:
            refuse("file", "holds no examples")
        return tuple(found)

    def _opened(self) -> BinaryIO:
        try:
            return self._store.open(self._file.object)
        except ObjectMissing:
            raise InvalidRequest("file: was deleted; send the request again") from None

    def _wanted(self) -> RequestedColumns:
        required = {"text_column": self._columns["text"]}
        if self._labelled:
            required["label_column"] = self._columns["label"]
        optional = [name for name in self._columns.values() if name not in required.values()]
        return RequestedColumns(required=required, optional=optional)

    def _is_blank(self, row: Row) -> bool:
        """Whether it is a row of a table with nothing in it, as spreadsheets write below theirs."""
        if row.data is None or self._format.kind == "jsonl":
            return False
        return all(
            value is None or (isinstance(value, str) and not value.strip())
            for value in row.data.values()
        )

    def _example(self, row: Row, faults: list[FieldError]) -> Example | None:
        """The example in a row, or None, with what is wrong."""
        if row.data is None:
            assert row.fault is not None
            faults.append(FieldError(field=self._place(row.line), message=row.fault.message))
            return None
        try:
            # The cells of a CSV are words: a number is read from them.
            said = _ROWS[self._labelled].validate_python(
                self._fields(row.data), strict=self._format.kind == "jsonl"
            )
        except ValidationError as exc:
            faults += (self._placed(fault, row.line) for fault in faults_of(exc))
            return None
        return example_of(said)

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

    def _place(self, line: int) -> str:
        return f"file {'row' if self._format.kind == 'parquet' else 'line'} {line}"

    def _placed(self, fault: FieldError, line: int) -> FieldError:
        """A fault of a row, in the words of the file."""
        place = self._place(line)
        if fault.field != "body":
            place += f".{shown(self._columns.get(fault.field, fault.field))}"
        return FieldError(field=place, message=fault.message, type=fault.type)
