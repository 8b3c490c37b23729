"""A batch's file as rows that have an id and something to work on, or a reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from shared import layout
from shared.batches import BatchRequest, Rows, Source
from shared.errors import InvalidRequest, ObjectMissing
from shared.ports import ObjectStore
from workers.handlers.batch.rows import PartRow
from workers.inputs.format import Format, Said
from workers.inputs.pick import pick
from workers.inputs.row import Bounds, Fault, Row
from workers.inputs.sniff import sniff
from workers.inputs.tables import read_rows

_HEAD_BYTES = 64 * 1024
_ROW_BYTES = 64  # what a row costs whatever is in it
_MOST_ID_CHARS = 512


@dataclass(frozen=True, kw_only=True)
class OpenFile:
    """A file at its beginning, and what it is."""

    stream: BinaryIO
    format: Format


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads the files of batches."""

    store: ObjectStore
    bounds: Bounds

    @contextmanager
    def open(self, account: str, source: Source) -> Iterator[OpenFile]:
        """The file, from its beginning.

        Raises:
            InvalidRequest: It is not there any more, or its format cannot be told.
        """
        said = Said(format=source.format, delimiter=source.delimiter, encoding=source.encoding)
        with self._opened(account, source) as stream:
            head = stream.read(_HEAD_BYTES)
            found = sniff(head, filename=source.filename, said=said)
        with self._opened(account, source) as stream:
            yield OpenFile(stream=stream, format=found)

    def rows(
        self, file: OpenFile, body: BatchRequest, *, skip: int
    ) -> Iterator[tuple[PartRow, int]]:
        """Rows after the first `skip`, each with about how many bytes there are to work on.

        Raises:
            InvalidRequest: The file is broken, or has no such column.
        """
        for row in read_rows(file.stream, file.format, skip=skip, bounds=self.bounds):
            yield _picked(row, body.rows) if body.rows else _request(row, body.endpoint)

    def _opened(self, account: str, source: Source) -> BinaryIO:
        try:
            return self.store.open(layout.file_content(account, source.object))
        except ObjectMissing:
            raise InvalidRequest("input_file_id: the file was deleted") from None


def _picked(row: Row, rows: Rows) -> tuple[PartRow, int]:
    """A plain row, by its columns."""
    if row.data is None:
        assert row.fault is not None
        return _bad(row, row.fault), _ROW_BYTES
    found = pick(row.data, row.number, text_column=rows.text_column, id_column=rows.id_column)
    if isinstance(found, Fault):
        return _bad(row, found, name=_name(row, rows.id_column)), _ROW_BYTES
    return PartRow(line=row.line, id=found.id, data=row.data), _ROW_BYTES + len(found.text)


def _bad(row: Row, fault: Fault, *, name: str | None = None) -> PartRow:
    said = (fault.code, fault.message, fault.param)
    return PartRow(line=row.line, id=name or str(row.number), data=row.data, bad=said)


def _name(row: Row, id_column: str | None) -> str | None:
    """The id of a row that is wrong elsewhere, if it has one."""
    said = (row.data or {}).get(id_column or "")
    return str(said)[:_MOST_ID_CHARS] if isinstance(said, str | int) else None


def _request(row: Row, endpoint: str) -> tuple[PartRow, int]:
    """A line that is a request, with the id that the caller gave it."""
    data = row.data
    if data is None:
        assert row.fault is not None
        return _bad(row, row.fault), _ROW_BYTES
    custom_id = data.get("custom_id")
    known = isinstance(custom_id, str) and 0 < len(custom_id) <= _MOST_ID_CHARS
    name = str(custom_id) if known else str(row.number)
    fault: tuple[str, str, str] | None = None
    if not known:
        fault = ("invalid_custom_id", f"needs 1 to {_MOST_ID_CHARS} characters", "custom_id")
    elif data.get("method", "POST") != "POST":
        fault = ("invalid_method", "must be POST", "method")
    elif data.get("url", endpoint) != endpoint:
        fault = ("mismatched_endpoint", f"must be {endpoint}, as the batch says", "url")
    elif not isinstance(data.get("body"), dict):
        fault = ("invalid_body", "must be an object", "body")
    if fault is not None:
        return PartRow(line=row.line, id=name, bad=fault), _ROW_BYTES
    body = data["body"]
    assert isinstance(body, dict)
    return PartRow(line=row.line, id=name, data=body), _ROW_BYTES + len(str(body.get("input", "")))
