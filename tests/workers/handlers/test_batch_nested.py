"""What is nested in lines of JSON is nested in Parquet: the same values, with types."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shared.types import FileReading, Question, Threshold
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import (
    ASK,
    GROUPS,
    a_batch,
    content,
    jsonl,
    lines,
    result,
    run_all,
)
from tests.workers.handlers.test_batch_types import written

LABELLED = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))
TEXTS = ["a red happy rose", "sad green grass", "neither of them", "red and green"]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two of three": {"questions": (Question(labels=("red", "green", "blue")),), "top_k": 2},
    "some of them": {"multi_label": True, "threshold": Threshold(default=0.75)},
    "groups": {"questions": GROUPS, "return_uncertainty": True},
}


def both(bench: Bench, data: bytes, **changes: Any) -> tuple[list[dict[str, Any]], pa.Table]:
    """The lines, and the table, of two batches that differ in nothing but their format."""
    as_lines = a_batch(bench, data, **changes)
    as_table = a_batch(bench, data, **changes, output_format="parquet")
    run_all(bench)
    table = content(bench, result(bench, as_table).output_file)
    return lines(bench, result(bench, as_lines).output_file), pq.read_table(io.BytesIO(table))


@pytest.mark.parametrize("source", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_predictions_are_lists_of_labels_and_scores(
    bench: Bench, options: dict[str, Any], source: str
):
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    data = jsonl(*rows) if source.endswith("jsonl") else written(pa.Table.from_pylist(rows))
    ask = ASK.model_copy(update=options)

    found, table = both(bench, data, filename=source, rows={"ask": ask, "id_column": "id"})

    assert len(found) == len(TEXTS)
    if ask.questions[0].group is None:
        assert table.schema.field("predictions").type == LABELLED
        assert table["predictions"].to_pylist() == [line["predictions"] for line in found]
        return
    for question in ask.questions:
        column = f"predictions_{question.group}"
        assert table.schema.field(column).type == LABELLED
        said = [line["predictions"][question.group] for line in found]
        assert table[column].to_pylist() == said


def test_no_label_above_the_threshold_is_an_empty_list(bench: Bench):
    ask = ASK.model_copy(update={"multi_label": True, "threshold": Threshold(default=1.0)})

    _, table = both(bench, jsonl({"text": "neither of them"}), rows={"ask": ask})

    assert table["predictions"].to_pylist() == [[]]
    assert table["prediction"].to_pylist() == [None]


def test_the_best_labels_are_found_in_parquet_without_json(bench: Bench):
    _, table = both(bench, jsonl(*({"text": text} for text in TEXTS[:2])), rows={})

    flat = pc.list_flatten(table["predictions"])

    assert pc.struct_field(flat, "label").to_pylist() == ["red", "green"] * 2
    first = pc.struct_field(pc.list_element(table["predictions"], 0), "score")
    assert first.to_pylist()[0] == table["score"].to_pylist()[0]


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("per_page", [False, True])
def test_what_was_read_of_a_document_is_a_struct(bench: Bench, per_page: bool, groups: bool):
    ask = ASK.model_copy(update={"files": FileReading(per_page=per_page)})
    if groups:
        ask = ask.model_copy(update={"questions": GROUPS})
    data = jsonl({"doc": "red happy||green sad"}, {"doc": "green"})

    found, table = both(bench, data, rows={"ask": ask, "file_column": "doc"})

    assert [line["file"]["total_pages"] for line in found] == [3, 1]
    assert table["file"].to_pylist() == [line["file"] for line in found]
    assert table.schema.field("file").type.get_field_index("pages") == (5 if per_page else -1)


def test_a_csv_holds_them_as_json(bench: Bench):
    job = a_batch(bench, jsonl({"text": "red"}), rows={}, output_format="csv")
    run_all(bench)

    table = content(bench, result(bench, job).output_file).decode()

    assert json.loads(table.split('"', 1)[1].rsplit('"', 1)[0].replace('""', '"'))[0]["label"]
