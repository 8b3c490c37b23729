"""The output of plain rows: the columns of the input, followed by the columns of the result.

Parts store results as JSON lines, and JSON has fewer types than Parquet. To write Parquet from
Parquet, the input is therefore read once more, and its schema is preserved. The same holds for
infinities in CSV. If that is impossible, since the file was deleted or the objects of a prefix
differ in their schemas, the rows are those of the JSON lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from shared.batches import BatchRequest, ColumnMapping, Plan
from shared.jobs import Job
from workers.handlers.batch.input_reader import Reader
from workers.handlers.batch.output_types import type_of
from workers.inputs.tables.output_columns import OutputColumn, Type, Values
from workers.inputs.tables.parquet_append import appended
from workers.inputs.tables.row import unreadable
from workers.inputs.tables.writers import write_rows

# Columns that a table gets for each question, as far as they were asked for.
_FOUND = ("prediction", "score", "predictions", "margin", "uncertain", "fit")
_PARQUET = re.compile(r"(\d+ objects?: )?Parquet(, \w+)?")  # what a plan says, and no other format
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class _Ours:
    """A column beside those of the row, and which field of a line it holds, for which group."""

    name: str
    field: str
    group: str | None
    type: Type

    @property
    def column(self) -> OutputColumn:
        return OutputColumn(name=self.name, type=self.type)

    def value(self, line: dict[str, Any]) -> object:
        """What a line has for it."""
        value = line.get(self.field)
        return value if self.group is None or value is None else value.get(self.group)


def is_typed(body: BatchRequest, plan: Plan | None) -> bool:
    """Whether the output is to have types or values that lines of JSON have not."""
    made = body.rows is not None and body.output_format != "jsonl"
    return made and plan is not None and _PARQUET.fullmatch(plan.format) is not None


def typed(pieces: Iterable[bytes], job: Job, body: BatchRequest, reader: Reader) -> Iterator[bytes]:
    """A table of rows that are read once more.

    Args:
        pieces: lines of JSON, in the order of their rows.
        job: the batch.
        body: what was asked.
        reader: reads the rows.

    Raises:
        InvalidRequest: They cannot be read, or not so; `formatted` needs the lines alone.
    """
    lines = map(_decode, _split(pieces))
    first = next(lines, None)
    if first is None:
        return
    ours = _ours(body, first)
    with reader.open(job, body) as file:
        if body.output_format == "parquet":
            found = (
                (line["line"], {each.name: each.value(line) for each in ours})
                for line in chain([first], lines)
            )
            batches = reader.batches(file, body)
            file.held.callback(batches.close)
            yield from appended(batches, found, [each.column for each in ours])
            return
        numbered = ((row.line, row.data) for row, _ in reader.rows(file, body, skip=0))
        rows = _reread(chain([first], lines), numbered)
        yield from _table(rows, first, ours, body, rest=None)


def formatted(pieces: Iterator[bytes], body: BatchRequest, plan: Plan | None) -> Iterator[bytes]:
    """The output as the caller wants it; JSON lines are what parts are made of."""
    if body.output_format == "jsonl" or body.rows is None:
        return pieces
    lines = map(_decode, _split(pieces))
    first = next(lines, None)
    if first is None:
        return iter(())
    ours = _ours(body, first)
    # A row of JSON, or of another object, may have columns that the first one has not.
    one_table = plan is not None and plan.format.startswith(("CSV", "Parquet"))
    names = [*first["row"], *(each.name for each in ours)]
    rest = None if one_table else _free("other_columns", names)
    return _table(chain([first], lines), first, ours, body, rest=rest)


def _table(
    lines: Iterable[dict[str, Any]],
    first: dict[str, Any],
    ours: Sequence[_Ours],
    body: BatchRequest,
    *,
    rest: str | None,
) -> Iterator[bytes]:
    columns = [*(OutputColumn(name=name) for name in first["row"]), *(each.column for each in ours)]
    rows = ({**line["row"], **{each.name: each.value(line) for each in ours}} for line in lines)
    return write_rows(
        rows,
        body.output_format,
        columns,
        rest=rest,
        escape_formulas=body.escape_formulas,
        form=body.csv_form,
    )


def _reread(
    lines: Iterable[dict[str, Any]], numbered: Iterable[tuple[int, Values | None]]
) -> Iterator[dict[str, Any]]:
    """The lines, with the rows as they are read now."""
    rows = iter(numbered)
    for line in lines:
        data = next((data for number, data in rows if number == line["line"]), None)
        if data is None:
            unreadable("has fewer rows than it had, or others")
        yield {**line, "row": data}


def _ours(body: BatchRequest, line: dict[str, Any]) -> list[_Ours]:
    """The columns beside those of a row, which get other names where it has them already."""
    assert body.rows is not None
    taken = list(line["row"])
    found: list[_Ours] = []
    for field, group in _asked(body.rows, line):
        name = _free(field if group is None else f"{field}_{group}", taken)
        taken.append(name)
        found.append(_Ours(name, field, group, type_of(field, body.rows.ask)))
    return found


def _asked(rows: ColumnMapping, line: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Which fields of such a line become columns, with their groups: each has its own."""
    if not rows.ids:
        yield "id", None
    groups = [question.group for question in rows.ask.questions]
    for group in groups or [None]:  # a classifier's labels are one question
        yield from ((field, group) for field in _FOUND if field in line)
    if "classifier" in line:
        yield "classifier", "version"  # one column: the id is the same in each row
    yield from ((field, None) for field in ("file", "cached", "object_key") if field in line)


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or with as many underscores as make it another one.

    >>> _free("id", ["id", "id_"])
    'id__'
    """
    while name in taken:
        name += "_"
    return name


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of any size, without their ends."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
