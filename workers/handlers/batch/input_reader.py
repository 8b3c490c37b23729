"""Reads the input of a batch as rows; each has an id and an item, or a fault.

The input is an uploaded file, an object of a bucket, or all objects below a prefix. The objects of
a prefix are read one after the other as one table, and their rows are numbered through. The list of
objects, with their ETags, is stored when the batch is first planned; an object that changed later
fails the batch. Partition values in the key of an object become columns of its rows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, NoReturn, cast

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from shared import object_keys
from shared.batches import TRAIN, BatchInputs, BatchRequest, ColumnMapping, Input, RowSource
from shared.errors import InvalidRequest, ObjectMissing, PreconditionFailed
from shared.jobs import Job
from shared.messages import decode, encode
from shared.ports import BucketObject, Buckets, ObjectStore
from shared.validation import refuse
from workers.handlers.batch.byte_pieces import PieceStream
from workers.handlers.batch.part_rows import PartRow, encodable
from workers.handlers.batch.partitions import (
    batch_with_partitions,
    partitions_of,
    with_partitions,
)
from workers.inputs.tables import parquet
from workers.inputs.tables.column_mapping import own_id, pick
from workers.inputs.tables.detect_format import format_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.reader import ArrowBatches, ParquetRows, read_batches, read_rows
from workers.inputs.tables.row import Row, RowFault, TableLimits, unreadable
from workers.inputs.tables.table_objects import table_objects

_ROW_BYTES = 64  # what a row costs whatever is in it
_MEDIA_BYTES = 2 * 1024  # what an image or document costs at least: a part has 32 of them
_MEDIA_SHARE = 64  # of its bytes where it stands in the row: they weigh less than those of texts
_MAX_ID_CHARS = 512
_MAX_OBJECTS = 10_000  # below one prefix
_MAX_KNOWN = 2 * _MAX_OBJECTS
_FILE = Input(url="", etag="")  # of ours


@dataclass(frozen=True, kw_only=True)
class OpenFile:
    """What a batch reads. `found` are the formats that were met; `held` is let go of at the end."""

    job: Job
    source: RowSource
    objects: tuple[Input, ...]
    held: ExitStack
    found: list[Format] = field(default_factory=list)

    @property
    def several(self) -> bool:
        """Whether there may be more than one object."""
        return self.source.url.endswith("/") and not self.source.items

    def describe(self) -> str:
        """What was found, in words for the user."""
        fields = "; ".join(dict.fromkeys(each.describe() for each in self.found))
        if not self.several:
            return fields
        count = len(self.objects)
        return f"{count} object{'' if count == 1 else 's'}: {fields}"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads what batches are about. A worker has Parquet read in a child process."""

    store: ObjectStore
    buckets: Buckets
    bounds: TableLimits
    parquet_rows: ParquetRows = parquet.rows
    arrow_batches: ArrowBatches = parquet.record_batches
    encodings: dict[tuple[str, str], str] = field(default_factory=dict)  # of objects, by ETag

    @contextmanager
    def open(self, job: Job, body: BatchRequest) -> Iterator[OpenFile]:
        """What the batch reads; what is being read is closed at the end of the block.

        Raises:
            InvalidRequest: There is nothing, or too much.
            StoreUnavailable: The bucket's server is away.
        """
        objects = self._objects(job, body)
        with ExitStack() as held:
            yield OpenFile(job=job, source=body.source, objects=objects, held=held)

    def rows(
        self, file: OpenFile, body: BatchRequest, *, skip: int
    ) -> Iterator[tuple[PartRow, int]]:
        """Rows after the first `skip`, each with about how many bytes there are to work on.

        Raises:
            InvalidRequest: A file is broken, has no such column, was changed or deleted, or its
                format cannot be told.
            StoreUnavailable: The bucket's server is away.
        """
        reading = self._reading(file, body, skip)
        file.held.callback(reading.close)
        return reading

    def batches(self, file: OpenFile, body: BatchRequest) -> Generator[pa.RecordBatch, None, None]:
        """All rows as Arrow has them, where each object is Parquet; as `rows`.

        Raises:
            InvalidRequest: As `rows`; or an object is no Parquet.
            StoreUnavailable: The bucket's server is away.
        """
        for each in file.objects:
            found = self._format(file, each, "", body, None)
            fields = partitions_of(_key_of(each))
            with self._opened(file, each) as stream:
                read = read_batches(
                    stream, found, bounds=self.bounds, arrow_batches=self.arrow_batches
                )
                for batch in read:
                    yield batch_with_partitions(batch, fields)

    def _reading(
        self, file: OpenFile, body: BatchRequest, skip: int
    ) -> Generator[tuple[PartRow, int], None, None]:
        read: list[Input] = []
        rows_before = lines_before = 0
        for each in file.objects:
            # What is skipped was read before, so it is known how many rows each object has.
            rows, lines = each.rows, each.lines
            if rows is None or rows > skip:
                rows = lines = 0
                with closing(self._rows_of(file, each, body, skip)) as found:
                    fields = partitions_of(_key_of(each)) if body.rows else {}
                    for row in found:
                        rows, lines = row.number, row.line
                        if fields and row.data is not None:
                            row = replace(row, data=with_partitions(row.data, fields))
                        yield _told(file, each, row, body, rows_before, lines_before)
            skip = max(0, skip - rows)
            rows_before += rows
            lines_before += lines
            read.append(each.model_copy(update={"rows": rows, "lines": lines}))
        if file.source.url and tuple(read) != file.objects:
            name = object_keys.inputs(file.job.account, file.job.id)
            self.store.put(name, encode(BatchInputs(objects=tuple(read))))

    def _objects(self, job: Job, body: BatchRequest) -> tuple[Input, ...]:
        """What is to be read, as it was when this was asked first; or for the batch retried."""
        if body.source.items:
            self._list_items(job, body)
            return (_FILE,)
        if not body.source.url:
            return (_FILE,)
        for job_id in filter(None, (job.id, body.retry_of)):
            try:
                found = self.store.get(object_keys.inputs(job.account, job_id))
                return decode(BatchInputs, found.data).objects
            except ObjectMissing:
                pass
        listed = BatchInputs(objects=tuple(self._listed(body.source.url)))
        name = object_keys.inputs(job.account, job.id)
        try:
            self.store.put(name, encode(listed), if_absent=True)
        except PreconditionFailed:  # another planner was faster
            listed = decode(BatchInputs, self.store.get(name).data)
        return listed.objects

    def _list_items(self, job: Job, body: BatchRequest) -> None:
        """Write down which objects are to be classified, once: from then on they are rows."""
        name = object_keys.items(job.account, job.id)
        if any(self.store.list(name)):
            return
        before = object_keys.items(job.account, body.retry_of) if body.retry_of else ""
        rows = self.store.open(before) if before and any(self.store.list(before)) else None
        stream = rows or PieceStream(self._item_rows(body.source.url))
        with closing(stream), suppress(PreconditionFailed):  # another planner was faster
            self.store.put(name, cast("BinaryIO", stream), if_absent=True)

    def _item_rows(self, url: str) -> Iterator[bytes]:
        for each in self.buckets.list(url):
            row = {"id": each.url.removeprefix(url), "url": each.url, "bytes": each.bytes}
            fields = partitions_of(_key_of(each))
            yield msgspec.json.encode(with_partitions(row, fields)) + b"\n"

    def _listed(self, url: str) -> Iterator[Input]:
        if not url.endswith("/"):
            found = [self.buckets.find(url)]
        else:
            found = list(islice(table_objects(self.buckets, url), _MAX_OBJECTS + 1))
            if not found:
                any_there = next(iter(self.buckets.list(url)), None) is not None
                unread = "rows: empty objects, and names that begin with _ or ., are not read"
                refuse("input_url", f"holds no {unread if any_there else 'objects'}")
            if len(found) > _MAX_OBJECTS:
                message = f"holds more than {_MAX_OBJECTS} objects, the most that are read"
                refuse("input_url", f"{message}: name a longer prefix")
        for each in found:
            yield Input(url=each.url, etag=each.etag)

    def _rows_of(
        self, file: OpenFile, each: Input, body: BatchRequest, skip: int
    ) -> Generator[Row, None, None]:
        """The rows of one object; what is wrong with it names it, where there are several."""
        name = each.url.rpartition("/")[2] if each.url else file.source.filename
        try:
            wanted = None if body.rows is None else _wanted(body.rows, _key_of(each))
            found = self._format(file, each, name, body, wanted)
            file.found.append(found)
            with self._opened(file, each) as stream:
                yield from read_rows(
                    stream,
                    found,
                    skip=skip,
                    bounds=self.bounds,
                    wanted=wanted,
                    parquet_rows=self.parquet_rows,
                )
        except InvalidRequest as exc:
            if not file.several:
                raise
            detail = f"{_name_of(file, each)}: {exc.detail}"
            raise InvalidRequest(detail, fields=exc.fields) from exc

    def _format(
        self,
        file: OpenFile,
        each: Input,
        name: str,
        body: BatchRequest,
        wanted: RequestedColumns | None,
    ) -> Format:
        """What an object is. Its encoding is judged by all of it, once in each process.

        Raises:
            InvalidRequest: It is nothing that is read, or a table where each line is to be a
                request.
        """
        source = body.source
        key = (each.url or file.source.object, each.etag)
        encoding = source.encoding or self.encodings.get(key)
        declared = DeclaredFormat(
            format=source.format,
            delimiter=source.delimiter,
            encoding=encoding,
            skip_rows=source.skip_rows,
        )
        if body.rows is None:
            # Told by the content alone: whatever it is called, a table would fail line by line.
            name, declared = "", DeclaredFormat(delimiter=",", encoding=encoding)
        found = format_of(
            lambda: self._opened(file, each),
            filename=name,
            declared=declared,
            wanted=wanted,
            bounds=self.bounds,
        )
        if body.rows is None and found.kind != "jsonl":
            _refuse_table(found, body.endpoint)
        if len(self.encodings) >= _MAX_KNOWN:
            self.encodings.clear()
        self.encodings[key] = found.encoding
        return found

    def _opened(self, file: OpenFile, each: Input) -> BinaryIO:
        if each.url:
            return self.buckets.open(each.url, etag=each.etag)
        job = file.job
        if file.source.items:
            return self.store.open(object_keys.items(job.account, job.id))
        try:
            return self.store.open(object_keys.file_content(job.account, file.source.object))
        except ObjectMissing:
            raise InvalidRequest("input_file_id: the file was deleted") from None


def _refuse_table(found: Format, endpoint: str) -> NoReturn:
    what = "is Parquet" if found.kind == "parquet" else "does not begin with a JSON object"
    form = '{"custom_id": "…", "body": {…}}'
    if endpoint == TRAIN:
        unreadable(
            f"{what}, but each line must be a train request in JSON, as {form}; send a table of "
            f"examples to {TRAIN} itself"
        )
    unreadable(
        f"is missing, so each line must be a request in JSON, as {form}, but the file {what}; "
        "for plain rows say in `classify` what is asked of each",
        field="classify",
    )


def _wanted(columns: ColumnMapping, key: str) -> RequestedColumns:
    """The columns that a batch names, and that an object has to have, as its key says them not."""
    named = {f"{columns.holds}_column": columns.column, **columns.ids}
    known = partitions_of(key)
    required = {field: name for field, name in named.items() if name not in known}
    return RequestedColumns(
        required=required, optional=[name for name in named.values() if name in known]
    )


def _told(
    file: OpenFile, each: Input, row: Row, body: BatchRequest, rows_before: int, lines_before: int
) -> tuple[PartRow, int]:
    """A row, counted through; of several objects it knows which it is in, and at what line."""
    line = row.line
    if rows_before:
        row = replace(row, number=rows_before + row.number, line=lines_before + line)
    told, size = _picked(row, body.rows) if body.rows else _request(row, body.endpoint)
    if file.several:
        place = f"{_name_of(file, each)}, line {line}"
        told = replace(told, place=place, object_key=_key_of(each))
    return told, size


def _key_of(each: Input | BucketObject) -> str:
    """The key of an object of a bucket; empty for a file of ours.

    >>> _key_of(Input(url="s3://lake/in/dt=2026/a.csv", etag=""))
    'in/dt=2026/a.csv'
    """
    return each.url.removeprefix("s3://").partition("/")[2]


def _name_of(file: OpenFile, each: Input) -> str:
    """An object below the prefix that was named."""
    return each.url.removeprefix(file.source.url)


def _picked(row: Row, rows: ColumnMapping) -> tuple[PartRow, int]:
    """A plain row, by its columns."""
    ids = list(rows.ids.values())
    name = own_id(row.data, row.number, ids)
    if row.data is None:
        assert row.fault is not None
        return _bad(row, row.fault, name), _ROW_BYTES
    found = pick(row.data, row.number, column=rows.column, kind=rows.holds, id_columns=ids)
    if isinstance(found, RowFault):
        return _bad(row, found, name), _ROW_BYTES
    size = len(found.value)
    size = _MEDIA_BYTES + size // _MEDIA_SHARE if rows.media else _ROW_BYTES + size
    return PartRow(line=row.line, id=found.id, data=row.data), size


def _bad(row: Row, fault: RowFault, name: str | None) -> PartRow:
    reason = (fault.code, fault.message, fault.param)
    return PartRow(line=row.line, id=name, data=row.data, bad=reason)


def _request(row: Row, endpoint: str) -> tuple[PartRow, int]:
    """A line that is a request, with the id that the caller gave it."""
    data = row.unpaired if row.data is None else row.data
    if data is None:
        assert row.fault is not None
        return _bad(row, row.fault, None), _ROW_BYTES
    custom_id = data.get("custom_id")
    wrong = _wrong_id(custom_id)
    # Clients match lines by it, so none is made up.
    name = custom_id if isinstance(custom_id, str) and wrong is None else None
    fault: tuple[str, str, str] | None = None
    if wrong is not None:
        fault = ("invalid_custom_id", wrong, "custom_id")
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


def _wrong_id(value: object) -> str | None:
    if value is None:
        return f"is missing: give each line one of 1 to {_MAX_ID_CHARS} characters"
    if not isinstance(value, str):
        return "must be a string: put it in quotes"
    if not encodable(value):
        return "has half of a surrogate pair; send complete characters"
    return None if 0 < len(value) <= _MAX_ID_CHARS else f"needs 1 to {_MAX_ID_CHARS} characters"
