"""Files of every odd kind, end to end: each row in one of two files, or a clear reason for all."""

from __future__ import annotations

import gzip
import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.chaos.test_batches import batch, ended, lines, start, upload
from tests.stack import LABELS, Stack

pytestmark = pytest.mark.integration
ASK = {"labels": LABELS}
GOOD = {"input": "a red thing", "labels": LABELS}


def jsonl(*rows: object) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def run(stack: Stack, data: bytes, filename: str, **said: Any) -> dict[str, Any]:
    """The batch of a file, when it has ended."""
    body = {"input_file_id": upload(stack, data, filename), **said}
    answer = stack.call("POST", "/v1/batches", body)
    assert answer.status == 200, answer.body
    return ended(stack, str(answer.json()["id"]))


def tried(stack: Stack, data: bytes, filename: str, **said: Any) -> dict[str, Any]:
    body = {"input_file_id": upload(stack, data, filename), **said}
    answer = stack.call("POST", "/v1/batches?dry_run=true", body)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def errors(stack: Stack, final: dict[str, Any]) -> dict[str, str]:
    """The code of each error, by the id of its request, or the line where it has none."""
    found = {}
    for line in lines(stack, final["error_file_id"]):
        body = line["error"] or line["response"]["body"]["error"]
        found[line["custom_id"] or line["id"].rpartition("_")[2]] = body["code"]
    return found


def test_rows_of_which_every_third_is_bad_each_in_its_way(stack: Stack):
    spoilt: list[tuple[object, str]] = [
        ({"id": "b0"}, "missing_column"),
        ({"id": "b1", "text": ""}, "empty_text"),
        ({"id": "b2", "text": "  \t"}, "empty_text"),
        ({"id": "b3", "text": None}, "empty_text"),
        ({"id": "b4", "text": 7}, "invalid_text"),
        ({"id": "b5", "text": ["a"]}, "invalid_text"),
        ({"id": {"a": 1}, "text": "red"}, "invalid_id"),
        ({"id": "g0", "text": "red"}, "duplicate_id"),
        ({"id": "b8", "text": "word " * 9000}, "input_token_limit_exceeded"),
        (b'{"id": "b9", "text": "red"', "invalid_json_line"),
        (b'{"id": "b10", "id": "b10", "text": "red"}', "duplicate_key"),
        (b'["b11", "red"]', "not_an_object"),
        (b'{"id": "b12", "text": NaN}', "invalid_number"),
        (b'{"id": "b13", "text": "\\ud800"}', "invalid_text"),
    ]
    rows: list[object] = []
    for number in range(42):
        bad = number % 3 == 2
        rows.append(spoilt[number // 3][0] if bad else {"id": f"g{number}", "text": "a red rose"})

    final = run(stack, jsonl(*rows), "rows.jsonl", classify=ASK, id_column="id")

    assert final["status"] == "completed"
    assert final["request_counts"] == {"total": 42, "completed": 28, "failed": 14}
    found = [line["line"] for line in lines(stack, final["output_file_id"])]
    assert found == [n + 1 for n in range(42) if n % 3 != 2]
    told = [(line["line"], line["error"]["code"]) for line in lines(stack, final["error_file_id"])]
    assert sorted(told) == [(3 * place + 3, code) for place, (_, code) in enumerate(spoilt)]
    named = {fault["line"]: fault["code"] for fault in final["errors"]["data"]}
    assert named == {line: code for line, code in told if code != "input_token_limit_exceeded"}


def test_requests_of_which_most_are_bad_each_in_its_way(stack: Stack):
    def line(custom_id: object, body: object = GOOD, **more: object) -> dict[str, object]:
        said = {"custom_id": custom_id, "method": "POST", "url": "/v1/classify", "body": body}
        return {**said, **more}

    final = run(
        stack,
        jsonl(
            line("good"),
            line("one label", {**GOOD, "labels": ["red"]}),
            line("empty label", {**GOOD, "labels": ["red", " "]}),
            line("many labels", {**GOOD, "labels": [f"l{n}" for n in range(300)]}),
            line("no labels", {"input": "x"}),
            line("no input", {"labels": LABELS}),
            line("no classifier", {"input": "x", "classifier_id": "nobody"}),
            line("no model", {**GOOD, "model": "nope"}),
            line("wrong type", {**GOOD, "top_k": "two"}),
            line("no body", None),
            line("method", method="GET"),
            line("url", url="/v1/embeddings"),
            line(""),
            line("good"),
            b"no json",
        ),
        "requests.jsonl",
    )

    assert final["request_counts"] == {"total": 15, "completed": 1, "failed": 14}
    found = errors(stack, final)
    assert [line["custom_id"] for line in lines(stack, final["output_file_id"])] == ["good"]
    assert found["good"] == "duplicate_id"
    assert (found["no body"], found["method"], found["url"]) == (
        "invalid_body", "invalid_method", "mismatched_endpoint",
    )  # fmt: skip
    assert (found["13"], found["15"]) == ("invalid_custom_id", "invalid_json_line")
    assert len(found) == 14
    named = [fault["line"] for fault in final["errors"]["data"]]
    assert [line for line in named if line in (2, 3, 5, 6, 9)] == [2, 3, 5, 6, 9]
    assert final["usage"]["total_tokens"] == charged_alone(stack)


def charged_alone(stack: Stack) -> int:
    """What the one good line costs by itself."""
    return int(stack.call("POST", "/v1/classify", GOOD).json()["usage"]["total_tokens"])


def test_a_table_without_a_question_fails_with_one_reason(stack: Stack):
    data = b"id,text\n1,red\n2,green\n"
    report = tried(stack, data, "rows.csv")
    final = run(stack, data, "rows.csv")

    assert final["status"] == "failed"
    (fault,) = final["errors"]["data"]
    assert fault["param"] == "classify"
    assert "each line must be a request in JSON" in fault["message"]
    assert report["errors"]["data"] == [fault]


@pytest.mark.parametrize(
    ("data", "filename", "total", "code"),
    [
        (b"x\n" * 50, "rows.jsonl", 50, "invalid_json_line"),
        (parquet(id=[1, 2, 3], text=[4, 5, 6]), "rows.parquet", 3, "invalid_text"),
        (parquet(id=[1, 2], text=[b"\xff", b"\xfe"]), "rows.parquet", 2, "invalid_text"),
        (
            b'{"id": "1", "text": "' + b"a" * 50_000_000 + b'"}',
            "rows.jsonl",
            1,
            "row_too_long",
        ),
    ],
    ids=["not JSON", "numbers", "bytes", "50 MB line"],
)
def test_a_file_of_bad_rows_alone_completes_with_every_reason(
    stack: Stack, data: bytes, filename: str, total: int, code: str
):
    report = tried(stack, data, filename, classify=ASK, id_column="id")
    final = run(stack, data, filename, classify=ASK, id_column="id")

    assert (report["valid"], report["request_counts"]["invalid"]) == (True, total)
    assert report["usage_estimate"]["tokens"] == 0
    assert final["status"] == "completed"
    assert final["output_file_id"] is None
    assert final["request_counts"] == {"total": total, "completed": 0, "failed": total}
    summary = {"most_frequent_error": code, "count": total, "retryable": 0}
    assert final["summary"] == summary


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (b"", "rows.jsonl", "no rows"),
        (b"\n \n", "rows.jsonl", "no rows"),
        (b"id,text\n", "rows.csv", "no rows"),
        (
            b"id,words\n" + b"1,red\n" * 50,
            "rows.csv",
            "text_column: the table has no column 'text'",
        ),
        (b"red\ngreen\n", "rows.csv", "add a header row"),
        (gzip.compress(b" " * 100_000_000), "rows.jsonl.gz", "times its size"),
        (gzip.compress(b'{"text": "red"}\n' * 9)[:-9], "rows.jsonl.gz", ""),
        (parquet(text=["red"])[:-20], "rows.parquet", ""),
    ],
    ids=[
        "empty",
        "blank",
        "header",
        "no column",
        "no header",
        "bomb",
        "cut gzip",
        "cut Parquet",
    ],
)
def test_a_file_that_cannot_be_read_fails_with_the_reason(
    stack: Stack, data: bytes, filename: str, says: str
):
    report = tried(stack, data, filename, classify=ASK)
    final = run(stack, data, filename, classify=ASK)

    assert (report["valid"], report["format"]) == (False, None)
    assert final["status"] == "failed"
    assert (final["output_file_id"], final["error_file_id"]) == (None, None)
    assert says in final["errors"]["data"][0]["message"]
    assert final["errors"]["data"] == report["errors"]["data"]


@pytest.mark.parametrize(
    ("data", "filename", "texts"),
    [
        (b'{"text": "red"}', "rows.jsonl", ["red"]),
        (b'text\n"a red\nrose"\n"a ""green"" one"\n', "rows.csv", ["a red\nrose", 'a "green" one']),
        ("text\tn\r\nrouge é red\t1\r\n".encode("utf-16"), "rows.tsv", ["rouge é red"]),
        (
            b'\xef\xbb\xbf{"text": "red"}\r\n\r\n{"text": "green"}\r\n',
            "rows.jsonl",
            ["red", "green"],
        ),
        (parquet(text=["red", "green"]), "rows.bin", ["red", "green"]),
        (gzip.compress(b"text\nred\n"), "rows.csv.gz", ["red"]),
    ],
    ids=["one row", "newline in quotes", "UTF-16 with BOM", "BOM and CRLF", "Parquet", "gzip"],
)
def test_a_file_of_an_odd_form_comes_out_whole(
    stack: Stack, data: bytes, filename: str, texts: list[str]
):
    report = tried(stack, data, filename, classify=ASK)
    final = run(stack, data, filename, classify=ASK)

    assert final["status"] == "completed", final
    found = lines(stack, final["output_file_id"])
    assert [line["row"]["text"] for line in found] == texts
    assert (report["valid"], report["format"]) == (True, final["format"])
    assert report["usage_estimate"] == {
        "tokens": final["usage"]["total_tokens"],
        "exact": True,
        "sampled_rows": len(texts),
    }


def test_parquet_comes_out_with_the_schema_that_went_in(stack: Stack):
    table = pa.table(
        {
            "id": pa.array([2**53 + n for n in range(3000)], pa.int64()),
            "text": [None if n % 9 == 0 else f"a red rose {n}" for n in range(3000)],
            "took": pa.array(range(3000), pa.duration("ns")),
            "rate": [math.inf] * 3000,
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=700)

    final = run(
        stack,
        file.getvalue(),
        "rows.parquet",
        classify=ASK,
        id_column="id",
        output_format="parquet",
    )

    assert final["status"] == "completed", final
    content = stack.call("GET", f"/v1/files/{final['output_file_id']}/content").body
    found = pq.read_table(io.BytesIO(content))
    assert found.select(table.schema.names).equals(table.filter(table["text"].is_valid()))
    assert set(found["prediction"].to_pylist()) <= set(LABELS)


def test_a_dry_run_leaves_nothing_and_tells_the_time_once_workers_have_worked(stack: Stack):
    data = jsonl(*({"text": f"red thing {n}"} for n in range(5000)))
    batch_id = start(stack, data, id_column=None)
    ended(stack, batch_id)
    jobs = stack.call("GET", "/v1/jobs?limit=100").json()["data"]
    stack.until("workers say how fast they are", lambda: seconds(stack, data) is not None)

    report = tried(stack, data, "rows.jsonl", classify=ASK)

    assert report["request_counts"]["total"] == 5000
    assert (report["usage_estimate"]["exact"], report["estimated_seconds"] >= 0) == (False, True)
    charged = batch(stack, batch_id)["usage"]["total_tokens"]
    assert report["usage_estimate"]["tokens"] == pytest.approx(charged, rel=0.02)
    assert stack.call("GET", "/v1/jobs?limit=100").json()["data"] == jobs


def seconds(stack: Stack, data: bytes) -> float | None:
    found: float | None = tried(stack, data, "rows.jsonl", classify=ASK)["estimated_seconds"]
    return found


def test_what_failed_is_retried_under_its_own_ids(stack: Stack):
    rows = [{"id": f"r{n}", "text": "" if n % 4 == 3 else "red"} for n in range(400)]
    first = run(stack, jsonl(*rows), "rows.jsonl", classify=ASK, id_column="id")

    path = f"/v1/batches/{first['id']}/retry"
    assert stack.call("POST", path).status == 409
    answer = stack.call("POST", path, {"rows": "all"})
    assert answer.status == 200, answer.body
    second = ended(stack, answer.json()["id"])

    assert second["retry_of"] == first["id"]
    assert second["request_counts"] == {"total": 100, "completed": 0, "failed": 100}
    assert lines(stack, second["error_file_id"]) == lines(stack, first["error_file_id"])


def test_a_file_of_any_name_is_downloaded_again(stack: Stack):
    for name in ("日本.csv", "größe.csv", "x" * 1000 + ".csv"):
        file = upload(stack, b"id,text", name)
        answer = stack.call("GET", f"/v1/files/{file}/content")
        assert (answer.status, answer.body) == (200, b"id,text")
