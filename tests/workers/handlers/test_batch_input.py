"""What a batch reads: no id is made up, and what is wrong with all of a file is said once."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared import object_keys
from shared.batches import TRAIN, Plan
from shared.jobs import Job, State
from shared.messages import CONTROL, decode
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import (
    LABELS,
    ME,
    a_batch,
    ended,
    jsonl,
    lines,
    result,
    run_all,
)


@pytest.mark.parametrize("last", ["1", "2", "3"])
def test_no_row_is_refused_for_an_id_that_was_made_up(bench: Bench, last: str):
    data = f"id,text\n,a green bill\n,red\n{last},a red parcel\n,\n"
    job = a_batch(bench, data.encode(), filename="rows.csv")

    run_all(bench)

    found = result(bench, job)
    output = lines(bench, found.output_file)
    assert [(line["id"], line["line"]) for line in output] == [(None, 2), (None, 3), (last, 4)]
    assert [(line["id"], line["line"]) for line in lines(bench, found.error_file)] == [(None, 5)]
    assert found.codes == {"empty_text": 1}


def test_a_row_whose_id_came_before_is_told_with_all_that_it_had(bench: Bench):
    rows = [{"id": "a", "text": "red"}, {"id": "a", "text": "green", "more": [1]}]
    job = a_batch(bench, jsonl(*rows))

    run_all(bench)

    (error,) = lines(bench, result(bench, job).error_file)
    assert error == {
        "id": "a",
        "line": 2,
        "row": rows[1],
        "error": {
            "code": "duplicate_id",
            "message": "has an id that came before",
            "param": "id",
            "retryable": False,
        },
    }


def failure(bench: Bench, job: Job) -> tuple[str, str]:
    """The field that ended a batch, and the sentence."""
    done = ended(bench, job)
    assert done.state is State.FAILED
    assert done.error is not None
    return done.error.fields[0][0], done.error.detail


def a_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"sku": ["1"], "words": ["red"]}), file)
    return file.getvalue()


@pytest.mark.parametrize("data", [b"sku,words\n1\n2,red\n3,green\n", a_parquet()])
@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "text_column"),
        ({"image_column": "photo"}, "image_column"),
        ({"text_column": "words", "id_column": "id"}, "id_column"),
    ],
)
def test_a_table_without_a_named_column_fails_before_anything_runs(
    bench: Bench, data: bytes, said: dict[str, str], field: str
):
    job = a_batch(bench, data, filename="rows.csv", rows=said)

    run_all(bench)

    assert failure(bench, job)[0] == field
    assert "there are: 'sku', 'words'." in failure(bench, job)[1]
    assert bench.encoder.ran == 0
    assert not list(bench.store.list(object_keys.plan(ME, job.id)))


def test_rows_of_json_may_differ_so_one_without_the_column_fails_alone(bench: Bench):
    job = a_batch(bench, jsonl({"id": "a", "words": "red"}, {"id": "b", "text": "red"}))

    run_all(bench)

    found = result(bench, job)
    assert [line["id"] for line in lines(bench, found.output_file)] == ["b"]
    (error,) = lines(bench, found.error_file)
    assert (error["error"]["code"], error["error"]["param"]) == ("missing_column", "text")


@pytest.mark.parametrize("filename", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"id,text\n1,red\n2,green\n", "does not begin with a JSON object"),
        ("id;text\n1;red\n".encode("utf-16"), "does not begin with a JSON object"),
        (a_parquet(), "is Parquet"),
    ],
    ids=["CSV", "UTF-16", "Parquet"],
)
def test_a_table_without_a_question_fails_with_one_reason(
    bench: Bench, data: bytes, filename: str, says: str
):
    job = a_batch(bench, data, filename=filename, rows=None)

    run_all(bench)

    field, detail = failure(bench, job)
    assert field == "classify"
    assert says in detail
    assert "for plain rows say in `classify`" in detail


def test_a_table_sent_as_train_requests_is_told_where_it_belongs(bench: Bench):
    job = a_batch(bench, b"text,label\nred,a\n", rows=None, endpoint=TRAIN)

    run_all(bench)

    field, detail = failure(bench, job)
    assert field == "file"
    assert "send a table of examples to /v1/train itself" in detail


def test_a_broken_line_among_requests_fails_alone(bench: Bench):
    good = {"custom_id": "a", "body": {"input": "red", "labels": LABELS}}
    job = a_batch(bench, b'{"custom_id": "b", "bo\n' + jsonl(good), rows=None)

    run_all(bench)

    assert ended(bench, job).progress.completed == 1
    assert result(bench, job).codes == {"invalid_json_line": 1}


@pytest.mark.parametrize(
    ("custom_id", "says"),
    [
        (7, "must be a string"),
        (["a"], "must be a string"),
        (None, "is missing: give each line one of 1 to 512 characters"),
        ("", "needs 1 to 512 characters"),
        ("x" * 513, "needs 1 to 512 characters"),
    ],
)
def test_a_line_without_an_id_gets_none_and_no_other_is_refused_for_it(
    bench: Bench, custom_id: object, says: str
):
    asked = {"input": "red", "labels": LABELS}
    said = [{"custom_id": each, "body": asked} for each in (custom_id, "1", "2")]
    job = a_batch(bench, jsonl(*said), rows=None)

    run_all(bench)

    found = result(bench, job)
    assert [line["custom_id"] for line in lines(bench, found.output_file)] == ["1", "2"]
    (error,) = lines(bench, found.error_file)
    assert error["custom_id"] is None
    assert error["error"]["code"] == "invalid_custom_id"
    assert says in error["error"]["message"]


def test_an_empty_object_among_requests_fails_alone(bench: Bench):
    good = {"custom_id": "1", "body": {"input": "red", "labels": LABELS}}
    job = a_batch(bench, jsonl({}, good), rows=None)

    run_all(bench)

    found = result(bench, job)
    assert [line["custom_id"] for line in lines(bench, found.output_file)] == ["1"]
    (error,) = lines(bench, found.error_file)
    assert error["error"]["code"] == "invalid_custom_id"


def test_the_index_that_pandas_writes_is_echoed_by_a_name(bench: Bench):
    job = a_batch(bench, b",text\n0,red\n1,a green bill\n", filename="rows.csv", rows={})

    run_all(bench)

    found = [line["row"] for line in lines(bench, result(bench, job).output_file)]
    assert found == [
        {"column_1": "0", "text": "red"},
        {"column_1": "1", "text": "a green bill"},
    ]


def test_a_title_above_the_header_is_skipped_or_named(bench: Bench):
    data = b"Extract of 2025-01-06\nid,text\n1,red\n"
    job = a_batch(bench, data, filename="rows.csv", skip_rows=1)
    without = a_batch(bench, data, filename="rows.csv")

    run_all(bench)

    (line,) = lines(bench, result(bench, job).output_file)
    assert (line["line"], line["row"]) == (3, {"id": "1", "text": "red"})
    assert "Line 2 looks like the header: set skip_rows to 1" in failure(bench, without)[1]


def test_a_stray_quote_fails_its_row_and_nothing_is_altered(bench: Bench):
    data = b'id, text\n1,"a \\"red\\" bill"\n2, "red, or green"\n3,"red" then green\n'
    job = a_batch(bench, data, filename="rows.csv")

    run_all(bench)

    found = result(bench, job)
    (line,) = lines(bench, found.output_file)
    assert line["row"] == {"id": "2", "text": "red, or green"}
    assert found.codes == {"stray_quote": 2}


def test_an_accent_far_below_the_beginning_does_not_cost_its_row(bench: Bench):
    plain = b"".join(b"%d,a red ticket without any accent\n" % n for n in range(3000))
    data = b"id,text\n" + plain + "x,a red café\n".encode("cp1252")
    job = a_batch(bench, data, filename="rows.csv")

    run_all(bench)

    found = result(bench, job)
    assert found.error_file is None
    last = lines(bench, found.output_file)[-1]
    assert (last["id"], last["row"]["text"]) == ("x", "a red café")
    plan = decode(Plan, bench.store.get(object_keys.plan(ME, job.id)).data)
    assert plan.format == "CSV, delimiter ',', Windows-1252"


def test_a_part_holds_few_rows_whose_other_columns_are_large(bench: Bench):
    rows = [{"id": n, "text": "red", "note": "x" * 1_000_000} for n in range(12)]
    job = a_batch(bench, jsonl(*rows))

    bench.parts.run(bench.claim(CONTROL))

    names = [n for n in bench.store.list(object_keys.parts(ME, job.id)) if n.endswith(".in")]
    assert len(names) == 3
    assert max(len(bench.store.get(name).data) for name in names) < 6_000_000
    run_all(bench)
    assert [line["id"] for line in lines(bench, result(bench, job).output_file)] == [
        str(n) for n in range(12)
    ]
