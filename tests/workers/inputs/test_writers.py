"""What is written is read back the same, in every format."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.batches import CsvForm, Kind
from shared.errors import InvalidRequest
from tests.workers.inputs.streams import data_of, rows_of
from tests.workers.inputs.test_jsonl import OBJECTS
from workers.inputs.tables.file_format import Format
from workers.inputs.tables.output_columns import ListOf, OutputColumn, Struct, Values
from workers.inputs.tables.parquet_writer import GROUP_BYTES, GROUP_ROWS
from workers.inputs.tables.writers import PIECE_BYTES, write_rows

KINDS: list[Kind] = ["jsonl", "csv", "parquet"]
TEXTS = st.text().map(lambda text: text.replace("\0", ""))
COLUMNS = ["id", "text", OutputColumn(name="score", type="number")]


def back(data: bytes, kind: Kind) -> list[dict[str, object] | None]:
    return data_of(rows_of(data, found=Format(kind=kind)))


@given(st.lists(st.tuples(TEXTS, TEXTS)), st.sampled_from(KINDS))
def test_any_texts_come_back(values: list[tuple[str, str]], kind: Kind):
    rows = [{"id": first, "text": second} for first, second in values]
    assert back(b"".join(write_rows(rows, kind, ["id", "text"])), kind) == rows


@given(OBJECTS)
def test_any_object_comes_back_from_jsonl(rows: list[dict[str, object]]):
    data = b"".join(write_rows(rows, "jsonl"))
    assert back(data, "jsonl") == rows
    assert data.count(b"\n") == len(rows)


@given(st.lists(st.tuples(TEXTS, st.floats(allow_nan=False) | st.none())))
def test_numbers_come_back_from_parquet_as_such(values: list[tuple[str, float | None]]):
    rows = [{"id": "1", "text": text, "score": score} for text, score in values]
    assert back(b"".join(write_rows(rows, "parquet", COLUMNS)), "parquet") == rows


def test_booleans_come_back_from_parquet_as_such_and_are_words_in_csv():
    rows: list[dict[str, object]] = [{"x": True}, {"x": False}, {"x": None}]
    columns = [OutputColumn(name="x", type="boolean")]

    table = pq.read_table(io.BytesIO(b"".join(write_rows(rows, "parquet", columns))))

    assert table.schema.field("x").type == pa.bool_()
    assert table.to_pylist() == rows
    assert b"".join(write_rows(rows[:2], "csv", columns)) == b"x\r\ntrue\r\nfalse\r\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("=1+1", "=1+1"),
        (5, "5"),
        (0.1, "0.1"),
        (True, "true"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (["a", 1], '["a",1]'),
        ({"a": {"b": "é"}}, '{"a":{"b":"é"}}'),
        (b"\xff\x00", "/wA="),
    ],
)
def test_what_is_no_text_is_written_as_json_in_csv_and_parquet(value: object, text: str):
    rows = [{"id": "1", "x": value}]
    assert back(b"".join(write_rows(rows, "csv")), "csv") == [{"id": "1", "x": text}]
    (row,) = back(b"".join(write_rows(rows, "parquet")), "parquet")
    assert row == {"id": "1", "x": text or value}


def test_csv_is_quoted_and_ends_its_lines_by_the_standard():
    rows: list[dict[str, object]] = [{"a": 'say "hi", all', "b": "x\ry"}]
    assert b"".join(write_rows(rows, "csv")) == b'a,b\r\n"say ""hi"", all","x\ry"\r\n'


def test_jsonl_is_compact_and_keeps_letters():
    rows: list[dict[str, object]] = [{"a": "é", "b": [1, 2], "c": b"\xff", "d": float("nan")}]
    data = b"".join(write_rows(rows, "jsonl"))
    assert data == '{"a":"é","b":[1,2],"c":"/w==","d":null}\n'.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_declared_columns_come_in_their_order_and_the_missing_are_null(kind: Kind):
    (row,) = back(b"".join(write_rows([{"text": "a"}], kind, ["id", "text"])), kind)
    assert row is not None
    assert list(row) == ["id", "text"]
    assert not row["id"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_was_not_declared_is_never_dropped(kind: Kind):
    rows: list[dict[str, object]] = [{"id": "1"}, {"id": "2", "more": [1], "most": "x"}]

    with pytest.raises(InvalidRequest, match="row 2 has a column that was not declared"):
        b"".join(write_rows(rows, kind, ["id"]))
    found = back(b"".join(write_rows(rows, kind, ["id"], rest="rest")), kind)

    assert not found[0] or not found[0]["rest"]
    rest = found[1] and found[1]["rest"]
    assert (json.loads(str(rest)) if kind != "jsonl" else rest) == {"more": [1], "most": "x"}


@pytest.mark.parametrize("kind", KINDS)
def test_two_columns_of_one_name_are_refused(kind: Kind):
    with pytest.raises(InvalidRequest, match="same name"):
        b"".join(write_rows([], kind, ["id", "id"]))
    with pytest.raises(InvalidRequest, match="same name"):
        b"".join(write_rows([], kind, ["id"], rest="id"))


def test_no_rows_are_a_file_with_its_columns():
    assert b"".join(write_rows([], "jsonl")) == b""
    assert b"".join(write_rows([], "csv", ["id", "text"])) == b"id,text\r\n"
    assert b"".join(write_rows([], "csv")) == b""
    schema = pq.read_schema(io.BytesIO(b"".join(write_rows([], "parquet", COLUMNS))))
    assert schema.field("text").type == pa.string()
    assert schema.field("score").type == pa.float64()


@pytest.mark.parametrize(
    ("kind", "value"),
    [("number", "a"), ("integer", 1.5), ("integer", 2**70), ("boolean", 3), ("number", True)],
)
def test_a_value_that_is_not_of_its_parquet_column_is_refused_by_name(kind: str, value: object):
    columns = [OutputColumn(name="x", type=kind)]  # type: ignore[arg-type]
    with pytest.raises(
        InvalidRequest, match=rf"columns\[x\]: a value does not match the column type \({kind}\)"
    ):
        b"".join(write_rows([{"x": value}], "parquet", columns))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_come_while_rows_do(kind: Kind):
    asked = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal asked
        for asked in range(1, 200_001):
            yield {"id": str(asked), "text": "x" * 50}

    pieces = write_rows(rows(), kind, ["id", "text"])
    first = next(pieces)

    assert first
    assert asked <= GROUP_ROWS
    if kind != "parquet":
        assert all(len(piece) <= 2 * PIECE_BYTES for piece in pieces)
    assert len(first) < 4 << 20


def test_parquet_groups_are_bounded_by_their_text_too():
    rows: list[dict[str, object]] = [{"text": str(i) + "x" * 1_000_000} for i in range(40)]
    found = pq.ParquetFile(io.BytesIO(b"".join(write_rows(rows, "parquet"))))
    assert found.metadata.num_row_groups == 3
    assert found.metadata.num_rows == 40


def test_parquet_groups_are_bounded_by_what_is_nested_too():
    labelled = ListOf(Struct((("label", "text"), ("score", "number"))))
    value = [{"label": f"label {n}", "score": n / 256} for n in range(256)]
    rows: list[dict[str, object]] = [{"x": value}] * 3000

    pieces = write_rows(rows, "parquet", [OutputColumn(name="x", type=labelled)])
    found = pq.ParquetFile(io.BytesIO(b"".join(pieces)))

    assert found.metadata.num_rows == 3000
    groups = [found.metadata.row_group(n).num_rows for n in range(found.metadata.num_row_groups)]
    # As Python objects a row is 8 times its JSON.
    assert max(groups) <= GROUP_BYTES // (8 * len(json.dumps(value, separators=(",", ":")))) + 1
    assert found.read_row_group(0)["x"][0].as_py() == value


def test_a_nested_value_of_another_type_is_refused_by_name():
    column = OutputColumn(name="x", type=ListOf(Struct((("label", "text"),))))
    with pytest.raises(
        InvalidRequest,
        match=r"columns\[x\]: a value does not match the column type \(list or object\)",
    ):
        b"".join(write_rows([{"x": [{"label": 5}]}], "parquet", [column]))


def test_a_csv_for_excel_has_a_mark_semicolons_and_decimal_commas():
    rows: list[Values] = [{"text": "a;b, c", "score": 0.5, "n": 7, "none": None}]
    form = CsvForm(delimiter=";", decimal=",", bom=True)

    data = b"".join(write_rows(rows, "csv", form=form))

    assert data == '\ufefftext;score;n;none\r\n"a;b, c";0,5;7;\r\n'.encode()
    assert data_of(rows_of(data)) == [{"text": "a;b, c", "score": "0,5", "n": "7", "none": ""}]
