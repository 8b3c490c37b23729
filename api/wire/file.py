"""Examples out of a JSONL or CSV file. A fault names its line, counted as an editor counts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.wire import body
from api.wire.table import decoded, delimiter_of, place, records
from shared.dialects.examples import ALabelled, AnExample, ExampleInput, example_of
from shared.dialects.refusal import MOST_SHOWN, faults_of, invalid, refuse, shown
from shared.dialects.shape import MOST_ENTRIES
from shared.errors import FieldError, InvalidRequest
from shared.types import Example

JSONL_TYPES = frozenset(
    {
        "application/jsonl",
        "application/jsonlines",
        "application/ndjson",
        "application/x-jsonlines",
        "application/x-ndjson",
    }
)
CSV_TYPES = frozenset({"text/csv", "text/tab-separated-values"})
_SUFFIXES = {"jsonl": True, "ndjson": True, "csv": False, "tsv": False}  # whether it is JSONL
_HEAD_BYTES = 64 * 1024
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # by first bytes; none are UTF-8
_ROWS: dict[bool, TypeAdapter[ExampleInput]] = {
    True: TypeAdapter(ALabelled),
    False: TypeAdapter(AnExample),
}

_Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class File:
    """What was sent as a file; its name and media type may be empty."""

    data: bytes
    name: str = ""
    media_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a file has what: the columns of a CSV, the keys of JSONL. No delimiter: look for it."""

    text: str = "text"
    label: str = "label"
    delimiter: str | None = None

    @property
    def by_field(self) -> dict[str, str]:
        """The column of each field of an example."""
        named = {"text": self.text, "label": self.label}
        own = {name: name for name in ("num_iters", "weight") if name not in named.values()}
        return named | own


@dataclass(frozen=True, kw_only=True)
class FileExamples:
    """The examples of a file, and the line that each begins in."""

    examples: tuple[Example, ...]
    lines: tuple[int, ...]

    def place(self, index: int) -> str:
        """Where an example stands, for an error."""
        return place(self.lines[index])


def columns(text: str | None, label: str | None, delimiter: str | None) -> Columns:
    """The columns that a caller names, or those that files have if he does not.

    Raises:
        InvalidRequest: The delimiter is none.
    """
    if delimiter in {"tab", "\\t"}:
        delimiter = "\t"
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        refuse("delimiter", "must be one character, or 'tab'")
    return Columns(text=text or "text", label=label or "label", delimiter=delimiter)


def read(
    file: File,
    where: Columns,
    *,
    labelled: bool = True,
    check: Callable[[Example, str], None] | None = None,
) -> FileExamples:
    """The examples of a file.

    Args:
        file: Its kind is told by its name, else by its media type, else by its first character.
        where: The columns to read; others are ignored.
        labelled: Refuse an example without a label.
        check: Raises InvalidRequest about an example, called by its place, that is wrong although
            it can be read: it is told among the broken lines.

    Raises:
        InvalidRequest: Broken lines, by number; the file is empty, compressed, not UTF-8, lacks a
            column, or holds more examples than are read.
    """
    for start, name in _PACKED.items():
        if file.data.startswith(start):
            refuse("file", f"is compressed ({name}): unpack it first")
    if not file.data.strip():
        refuse("file", "is empty: send JSONL, or CSV with a header")
    jsonl = _is_jsonl(file)
    rows = _jsonl(file.data, where) if jsonl else _csv(file.data, where, labelled=labelled)
    examples: list[Example] = []
    lines: list[int] = []
    faults: list[FieldError] = []
    for line, row in rows:
        if isinstance(row, FieldError):
            faults.append(row)
        else:
            try:
                # The cells of a CSV are words: a number is read from them.
                said = _ROWS[labelled].validate_python(row, strict=jsonl)
            except ValidationError as exc:
                faults += (_placed(fault, line, where) for fault in faults_of(exc))
            else:
                examples.append(example_of(said))
                lines.append(line)
                if check is not None:
                    try:
                        check(examples[-1], place(line))
                    except InvalidRequest as exc:
                        faults += exc.fields
        if len(examples) > MOST_ENTRIES:
            refuse(place(line), f"at most {MOST_ENTRIES} examples are read; split the file")
        if len(faults) >= MOST_SHOWN:
            break  # enough to see what is wrong
    if faults:
        raise invalid(faults)
    if not examples:
        refuse("file", "holds no examples")
    return FileExamples(examples=tuple(examples), lines=tuple(lines))


def with_file(about: str) -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra`: the part `file` of a form, beside its fields."""

    def add(schema: dict[str, Any]) -> None:
        file = {"type": "string", "format": "binary", "description": about}
        schema["properties"] = {"file": file, **schema.get("properties", {})}
        schema["required"] = ["file", *schema.get("required", [])]

    return add


def _is_jsonl(file: File) -> bool:
    suffix = file.name.rpartition(".")[2].lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if file.media_type in JSONL_TYPES | CSV_TYPES:
        return file.media_type in JSONL_TYPES
    return file.data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _jsonl(data: bytes, where: Columns) -> Iterator[tuple[int, _Row | FieldError]]:
    """The objects of the lines, by our names of their fields."""
    keys = {**where.by_field, "image": "image", "file": "file"}
    for line, text in enumerate(io.BytesIO(data), start=1):
        if not text.strip():
            continue
        try:
            value = body.parse(text.strip())
        except InvalidRequest as exc:
            yield line, _placed(exc.fields[0], line, where)
            continue
        if isinstance(value, dict):
            yield line, {field: value[key] for field, key in keys.items() if key in value}
        else:
            message = "must be an object with a label and a text, an image or a file"
            yield line, FieldError(field=place(line), message=message)


def _csv(data: bytes, where: Columns, *, labelled: bool) -> Iterator[tuple[int, _Row | FieldError]]:
    """The rows below the header, by our names of their fields."""
    text = decoded(data)
    delimiter = where.delimiter or delimiter_of(text, (where.text, where.label))
    rows = records(text, delimiter)
    line, header = next(rows, (1, []))
    if isinstance(header, FieldError):
        raise invalid([header])
    _check_header(line, header, where, labelled=labelled)
    places = {f: header.index(name) for f, name in where.by_field.items() if name in header}
    required = {"text", "label"} if labelled else {"text"}
    for line, cells in rows:
        if isinstance(cells, FieldError):
            yield line, cells
        else:  # an empty cell of another column is an absent one
            yield (
                line,
                {f: cells[i] for f, i in places.items() if f in required or cells[i].strip()},
            )


def _check_header(line: int, header: list[str], where: Columns, *, labelled: bool) -> None:
    """Refuse a file that has not the columns, or has one twice.

    Raises:
        InvalidRequest: It names the columns that there are.
    """
    wanted = {"text_column": where.text, **({"label_column": where.label} if labelled else {})}
    there = ", ".join(repr(shown(name)) for name in header[:MOST_SHOWN])
    faults = [
        FieldError(field=field, message=f"the file has no column {shown(name)!r}; it has {there}")
        for field, name in wanted.items()
        if name not in header
    ]
    faults += (
        FieldError(field=place(line), message=f"has the column {shown(name)!r} twice")
        for name in where.by_field.values()
        if header.count(name) > 1
    )
    if faults:
        raise invalid(faults)


def _placed(fault: FieldError, line: int, where: Columns) -> FieldError:
    """A fault of a row, in the words of the file."""
    if fault.field == "body":
        return FieldError(field=place(line), message=fault.message, type=fault.type)
    name = where.by_field.get(fault.field, fault.field)
    return FieldError(field=f"{place(line)}.{shown(name)}", message=fault.message, type=fault.type)
