"""Reads the examples of a train or evaluate call from a file, with the reader of batches.

A fault names its line as an editor counts, or its row where a format has no lines. One error names
all faults, up to a number that a person can read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from shared.errors import FieldError, InvalidRequest, ObjectMissing, TokenLimitExceeded
from shared.jobs import Job
from shared.limits import Limits
from shared.model_catalogue import Catalogue
from shared.ports import Buckets, ObjectStore
from shared.request_resolution import examples_for, model_for
from shared.schema_base import MAX_ENTRIES
from shared.types import EvaluateRequest, Example, ExampleFile, TrainRequest
from shared.validation import MAX_SHOWN, invalid, refuse
from workers.handlers.example_rows import ExampleRows
from workers.inputs.tables import parquet
from workers.inputs.tables.reader import ParquetRows
from workers.inputs.tables.row import TableLimits


@dataclass(frozen=True, kw_only=True)
class ExampleFiles:
    """Completes requests whose examples are in a file on the store or in a bucket."""

    store: ObjectStore
    buckets: Buckets
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
        read = self.read(request.file, check, judge=self.check_example)
        model = request.model
        if request.file.default_model and request.create is not None:
            model = model_for([example.item for example in read.examples], self.catalogue).name
        multilingual = request.multilingual_model if model == request.model else None
        update = {"examples": read.examples, "model": model, "multilingual_model": multilingual}
        found = request.model_copy(update=update)
        self.limits.check_training(found, place=read.place)
        return found.model_copy(update={"examples": self._looked_up(job, model, read.examples)})

    def evaluation(
        self, job: Job, request: EvaluateRequest, check: Callable[[], object]
    ) -> EvaluateRequest:
        """The request with the examples of its file, as `training`; labels may be missing.

        Raises:
            InvalidRequest: The file cannot be read, or a line holds what the limits refuse.
        """
        if request.file is None:
            return request
        read = self.read(request.file, check, labelled=False)
        found = request.model_copy(update={"examples": read.examples})
        self.limits.check_evaluation(found, place=read.place)
        examples = self._looked_up(job, request.model, read.examples)
        return found.model_copy(update={"examples": examples})

    def rows(
        self,
        file: ExampleFile,
        check: Callable[[], object],
        *,
        labelled: bool = True,
        id_column: str | None = None,
    ) -> ExampleRows:
        """The rows of a file, good and bad."""
        return ExampleRows(
            file,
            opened=partial(self._open, file),
            bounds=self.bounds,
            parquet_rows=self.parquet_rows,
            check=check,
            labelled=labelled,
            id_column=id_column,
        )

    def read(
        self,
        file: ExampleFile,
        check: Callable[[], object],
        *,
        judge: Callable[[Example, str], None] = lambda *_: None,
        labelled: bool = True,
    ) -> ReadExamples:
        """All examples of a file, each of which is good.

        Args:
            file: Where it lies, and what the request says of it.
            check: Raises where the work is to stop.
            judge: Raises InvalidRequest about an example, called by its place, that is wrong
                although it can be read: it is named among the broken lines.
            labelled: Refuse an example without a label.

        Raises:
            InvalidRequest: Broken lines, by number; the file is empty, lacks a column, or holds
                more examples than are read.
        """
        rows = self.rows(file, check, labelled=labelled)
        found: list[Example] = []
        lines: list[int] = []
        faults: list[FieldError] = []
        for row in rows:
            faults += row.faults
            if row.example is not None:
                found.append(row.example)
                lines.append(row.line)
                try:
                    judge(row.example, row.place)
                except InvalidRequest as exc:
                    faults += exc.fields
            if len(found) > MAX_ENTRIES:
                refuse(row.place, f"at most {MAX_ENTRIES} examples are read; split the file")
            if len(faults) >= MAX_SHOWN:
                break  # enough to see what is wrong
        if faults:
            raise invalid(faults)
        if not found:
            refuse("file", "holds no examples")
        return ReadExamples(examples=tuple(found), place=lambda index: rows.place(lines[index]))

    def check_example(self, example: Example, place: str) -> None:
        """Refuse an example that is wrong by itself.

        Raises:
            InvalidRequest: It is.
        """
        # An update with one iteration, for which nothing is asked but of the example.
        alone = TrainRequest(model="", classifier_id="", num_iters=1, examples=(example,))
        with suppress(TokenLimitExceeded):  # an error of another code, which the whole call ends in
            self.limits.check_training(alone, place=lambda _: place)

    def _open(self, file: ExampleFile) -> BinaryIO:
        if file.url:
            return self.buckets.open(file.url, etag=file.etag)
        try:
            return self.store.open(file.object)
        except ObjectMissing:
            raise InvalidRequest("file: was deleted; send the request again") from None

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


@dataclass(frozen=True, kw_only=True)
class ReadExamples:
    """The examples of a file, and where each stands, for an error."""

    examples: tuple[Example, ...]
    place: Callable[[int], str]
