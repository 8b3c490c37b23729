"""Parquet files: every type that comes, files that are broken, and no temporary file left."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import io
import math
import random
import tempfile
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest, Unavailable
from tests.workers.inputs.streams import Dribble, binary, codes_of, data_of, rows_of
from workers.inputs.tables.column_mapping import pick
from workers.inputs.tables.file_format import Format
from workers.inputs.tables.header import RequestedColumns
from workers.inputs.tables.reader import read_rows
from workers.inputs.tables.row import RowFault, TableLimits
from workers.inputs.tables.sniff import sniff

PARQUET = Format(kind="parquet")


def written(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def column(values: object, kind: pa.DataType | None = None) -> bytes:
    array = values if isinstance(values, pa.Array) else pa.array(values, kind)
    return written(pa.table({"x": array}))


@given(
    st.lists(st.tuples(st.text(), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=300),
    st.integers(1, 200),
    st.integers(0, 310),
)
def test_any_text_and_number_comes_back_from_any_row(
    values: list[tuple[str, int | None]], group: int, skip: int
):
    texts, numbers = [text for text, _ in values], [number for _, number in values]
    table = pa.table({"t": pa.array(texts, pa.string()), "n": pa.array(numbers, pa.int64())})

    rows = rows_of(written(table, row_group_size=group), found=PARQUET, skip=skip)

    assert data_of(rows) == [{"t": text, "n": number} for text, number in values[skip:]]
    assert [row.number for row in rows] == list(range(skip + 1, len(values) + 1))
    assert all(row.line == row.number for row in rows)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None], pa.int8(), [1, None]),
        ([2**64 - 1], pa.uint64(), [2**64 - 1]),
        ([1.5, None], pa.float64(), [1.5, None]),
        ([1.5], pa.float16(), [1.5]),
        ([0.1, -2.5e-7, None], pa.float32(), [0.1, -2.5e-7, None]),
        ([[0.1]], pa.list_(pa.float32()), [[0.1]]),
        ([True, None], pa.bool_(), [True, None]),
        ([None, None], pa.null(), [None, None]),
        (["a", None], pa.large_string(), ["a", None]),
        (["a", None], pa.string_view(), ["a", None]),
        (["a", None, "a"], pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"]),
        ([b"AP8=", b"\x00\xff", None], pa.binary(), ["QVA4PQ==", "AP8=", None]),
        ([b"ab"], pa.binary(2), ["YWI="]),
        ([b"ab"], pa.large_binary(), ["YWI="]),
        ([b"ab"], pa.binary_view(), ["YWI="]),
        ([bytes(16)], pa.uuid(), ["00000000-0000-0000-0000-000000000000"]),
        ([["a", "b"], None, []], pa.list_(pa.string()), [["a", "b"], None, []]),
        ([[b"a", b"\xff"]], pa.list_(pa.binary()), [["YQ==", "/w=="]]),
        ([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2), [[1, 2], None, [3, 4]]),
        ([None, ["a"]], pa.large_list(pa.string()), [None, ["a"]]),
        ([{"a": 1, "b": [1.5]}], None, [{"a": 1, "b": [1.5]}]),
        ([{"a": 1}, None, {"a": None}], None, [{"a": 1}, None, {"a": None}]),
        ([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64()), [[["k", 1]], None, []]),
        ([[(1, 90)]], pa.map_(pa.int8(), pa.duration("s")), [[[1, "PT1M30S"]]]),
        ([dt.date(2020, 1, 2), None], pa.date32(), ["2020-01-02", None]),
        ([dt.time(1, 2, 3, 4)], pa.time64("us"), ["01:02:03.000004"]),
        ([1_600_000_000_000_000_001], pa.timestamp("ns"), ["2020-09-13T12:26:40.000000001"]),
        ([0], pa.timestamp("ms", "Europe/Berlin"), ["1970-01-01T00:00:00.000Z"]),
        ([decimal.Decimal("12345678901234567890.10")], None, ["12345678901234567890.10"]),
        ([{"at": dt.date(2020, 1, 2)}], None, [{"at": "2020-01-02"}]),
        ([dt.timedelta(seconds=90), None], pa.duration("ms"), ["PT1M30S", None]),
        ([dt.timedelta(seconds=-1)], pa.duration("s"), ["-PT1S"]),
        (
            [93_784_000_000_005, -1, 0],
            pa.duration("ns"),
            ["P1DT2H3M4.000000005S", "-PT0.000000001S", "PT0S"],
        ),
        ([2**63 - 1], pa.duration("us"), ["P106751991DT4H54.775807S"]),
        (
            [[{"for": 1}]],
            pa.list_(pa.struct([("for", pa.duration("ns"))])),
            [[{"for": "PT0.000000001S"}]],
        ),
        (
            [[1_600_000_000_000_000_001]],
            pa.list_(pa.timestamp("ns")),
            [["2020-09-13T12:26:40.000000001"]],
        ),
        ([[decimal.Decimal("1.10")]], None, [["1.10"]]),
    ],
)
def test_each_type_becomes_what_json_knows(
    values: list[object], kind: pa.DataType | None, expected: list[object]
):
    rows = rows_of(column(values, kind), found=PARQUET)
    assert [row.data and row.data["x"] for row in rows] == expected
    assert all(msgspec.json.encode(row.data) for row in rows)


def test_nan_and_infinities_stay_until_they_are_written():
    rows = rows_of(column([math.nan, math.inf, -math.inf]), found=PARQUET)
    found = [row.data and row.data["x"] for row in rows]
    assert str(found) == "[nan, inf, -inf]"
    assert msgspec.json.encode(rows[0].data) == b'{"x":null}'


def test_bytes_of_a_column_that_is_named_for_texts_are_one():
    table = pa.table({"id": [b"1", b"2"], "text": ["é".encode(), b"\xff"], "raw": [b"a", b"b"]})
    wanted = RequestedColumns(required={"text_column": "text", "id_column": "id"})

    rows = rows_of(written(table), found=PARQUET, wanted=wanted)

    assert rows[0].data == {"id": "1", "text": "é", "raw": "YQ=="}
    assert rows[1].data == {"id": "2", "text": b"\xff", "raw": "Yg=="}
    found = pick(rows[1].data, 2, column="text")
    assert isinstance(found, RowFault)
    assert (found.code, found.message) == ("invalid_text", "must be a string, but is binary data")


def test_bytes_of_images_are_base64():
    table = pa.table({"photo": [b"\x89PNG"]})
    rows = rows_of(
        written(table), found=PARQUET, wanted=RequestedColumns(required={"image_column": "photo"})
    )
    assert data_of(rows) == [{"photo": "iVBORw=="}]


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9)), max_size=300), st.integers(0, 99)
)
def test_lists_come_back_from_any_row(values: list[list[int] | None], skip: int):
    data = column(values, pa.list_(pa.int8()))
    rows = rows_of(data, found=PARQUET, skip=skip)
    assert [row.data and row.data["x"] for row in rows] == values[skip:]


def test_a_broken_text_within_a_list_is_a_fault_of_its_row():
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in (0, 1, 2, 3)))
    broken = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffb"))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3]), broken)
    assert codes_of(rows_of(column(lists), found=PARQUET)) == [None, "unreadable_value"]


def test_a_text_that_is_not_utf8_is_a_fault_of_its_row():
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in (0, 1, 2, 3)))
    broken = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffb"))

    rows = rows_of(column(broken), found=PARQUET)

    assert codes_of(rows) == [None, "unreadable_value", None]
    assert rows[1].fault is not None
    assert rows[1].fault.param == "x"
    assert data_of(rows)[2] == {"x": "b"}


def test_a_row_beyond_the_bound_is_a_fault():
    data = column(["a", "b" * 2000, "c"])
    rows = rows_of(data, found=PARQUET, bounds=TableLimits(max_row_bytes=1000))
    assert codes_of(rows) == [None, "row_too_long", None]


@pytest.mark.parametrize("name", ["none", "gzip"])
@pytest.mark.parametrize("sizes", [[7], [1 << 20]])
def test_a_stream_that_cannot_go_back_waits_in_a_file_that_is_gone_afterwards(
    name: str, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = column([str(i) for i in range(1000)])
    data = gzip.compress(data) if name == "gzip" else data

    rows = read_rows(binary(Dribble(data, sizes)), sniff(data))

    assert next(rows).data == {"x": "0"}
    assert sum(1 for _ in rows) == 999
    assert list(tmp_path.iterdir()) == []


def test_what_is_spooled_is_bounded():
    data = column([random.Random(1).randbytes(100_000).hex()])
    with pytest.raises(InvalidRequest, match="more than 1000 bytes"):
        list(
            read_rows(
                binary(Dribble(data, [9999])), PARQUET, bounds=TableLimits(max_expanded_bytes=1000)
            )
        )


def test_no_room_for_the_temporary_file_is_our_fault_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(buffering: int) -> io.FileIO:
        return io.FileIO("/dev/full", "r+")

    data = column(["a"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unavailable, match="no space is left"):
        list(read_rows(binary(Dribble(data, [9])), PARQUET))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(Unavailable, match="no space is left"):
        list(read_rows(binary(Dribble(data, [9])), PARQUET))


def test_a_file_that_says_it_expands_too_far_is_refused():
    data = written(
        pa.table({"x": ["x" * 1_000_000 + str(i) for i in range(30)]}), compression="zstd"
    )
    with pytest.raises(InvalidRequest, match="more than 200 times its size"):
        rows_of(data, found=PARQUET)
    with pytest.raises(InvalidRequest, match="more than 5000000 bytes"):
        rows_of(data, found=PARQUET, bounds=TableLimits(max_expanded_bytes=5_000_000))


def test_columns_without_names_of_their_own_get_some():
    table = pa.Table.from_arrays([pa.array([i]) for i in range(4)], names=["a", "", "text", "a"])
    assert data_of(rows_of(written(table), found=PARQUET)) == [
        {"a": 0, "column_2": 1, "text": 2, "a_2": 3}
    ]


@pytest.mark.parametrize(
    ("names", "field", "says"),
    [
        (["a", "b"], "text_column", "no column 'text'; there are: 'a', 'b'"),
        (["text", "text"], "text_column", "columns 1 and 2 are both called 'text'"),
    ],
)
def test_columns_that_a_request_names_are_there_once(names: list[str], field: str, says: str):
    table = pa.Table.from_arrays([pa.array([], pa.string())] * 2, names=names)
    with pytest.raises(InvalidRequest, match=says) as caught:
        rows_of(
            written(table), found=PARQUET, wanted=RequestedColumns(required={"text_column": "text"})
        )
    assert caught.value.fields[0].field == field


def test_a_table_without_columns_is_refused():
    with pytest.raises(InvalidRequest, match="has no columns"):
        rows_of(written(pa.table({})), found=PARQUET)


def test_a_table_without_rows_has_none():
    assert rows_of(column([], pa.string()), found=PARQUET) == []
    assert rows_of(column(["a"]), found=PARQUET, skip=5) == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 3, b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(data: bytes):
    with pytest.raises(InvalidRequest, match="broken, or not a Parquet file"):
        rows_of(data, found=PARQUET)


def test_one_cut_off_is_refused():
    data = column([str(i) for i in range(1000)])
    for left in (10, len(data) // 2, len(data) - 1):
        with pytest.raises(InvalidRequest, match="broken, or not a Parquet file"):
            rows_of(data[:left], found=PARQUET)


@pytest.mark.parametrize("seed", range(150))
def test_one_with_wrong_bytes_is_read_or_refused(seed: int):
    chance = random.Random(seed)
    table = pa.table({"t": [f"text {i}" for i in range(500)], "l": [[i] for i in range(500)]})
    data = bytearray(written(table, row_group_size=100, write_page_checksum=True))
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)

    try:
        rows = rows_of(bytes(data), found=PARQUET)
    except InvalidRequest:
        return
    assert len(rows) <= 500
