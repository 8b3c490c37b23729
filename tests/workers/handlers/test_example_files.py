"""Examples out of files: as batches read them, every fault by its line."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import object_keys
from shared.errors import InvalidRequest, PigeonholeError
from shared.jobs import Job, Progress, State
from shared.limits import Limits
from shared.messages import decode
from shared.types import (
    ClassifierVersion,
    EvaluateRequest,
    Example,
    ExampleFile,
    NewClassifier,
    TrainRequest,
)
from tests.fakes import FakeBuckets, FakeStore
from tests.workers.conftest import CATALOGUE, Bench
from tests.workers.handlers.test_train import a_job
from tests.workers.inputs.test_compression import zstd
from workers.handlers.example_files import ExampleFiles
from workers.inputs.tables.row import TableLimits

BOM = b"\xef\xbb\xbf"
CSV = b"text,label\none,a\n"
JSONL = b'{"text": "one", "label": "a"}\n'
CHECKS: list[int] = []


def read(
    data: bytes | str, name: str = "", *, labelled: bool = True, **fields: Any
) -> tuple[Example, ...]:
    store = FakeStore()
    store.put("file", data if isinstance(data, bytes) else data.encode())
    files = ExampleFiles(
        store=store,
        buckets=FakeBuckets(),
        catalogue=CATALOGUE,
        limits=Limits(max_num_iters=10, max_input_tokens=10_000),
        bounds=TableLimits(max_row_bytes=400_000),
    )
    file = ExampleFile(object="file", filename=name, **fields)
    if labelled:
        body = TrainRequest(model="tiny", classifier_id="c", num_iters=1, file=file)
        return files.training(a_job(), body, lambda: CHECKS.append(1)).examples
    weights = ClassifierVersion(account="a", classifier_id="c", version=1, file="f")
    asked = EvaluateRequest(model="tiny", classifier=weights, file=file)
    return files.evaluation(a_job(), asked, lambda: CHECKS.append(1)).examples


def said(found: tuple[Example, ...]) -> list[tuple[str, str | None]]:
    return [(example.item.text, example.label) for example in found]


def faults(data: bytes | str, name: str = "", **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read(data, name, **fields)
    return {fault.field: fault.message for fault in caught.value.fields}


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


class TestKinds:
    @pytest.mark.parametrize(
        "data",
        [
            JSONL,
            BOM + JSONL,
            CSV,
            BOM + CSV,
            "text;label\none;a\n".encode("utf-16"),
            gzip.compress(JSONL, mtime=0),
            gzip.compress(CSV, mtime=0),
            zstd.compress(CSV),
            parquet(text=["one"], label=["a"]),
            gzip.compress(parquet(text=["one"], label=["a"]), mtime=0),
        ],
    )
    @pytest.mark.parametrize("name", ["", "x.csv", "x.txt"])
    def test_content_says_what_it_is(self, data: bytes, name: str):
        assert said(read(data, name)) == [("one", "a")]

    @pytest.mark.parametrize("data", [b"", b" \n\n", b"\t"])
    def test_an_empty_file_is_refused(self, data: bytes):
        assert faults(data) == {"file": "is empty: send JSONL or Parquet, or CSV with a header"}

    @pytest.mark.parametrize("data", [b"text,label\n", b"text,label\n,\n \n", b"{}" + CSV[:0]])
    def test_a_file_without_examples_is_refused(self, data: bytes):
        found = faults(data)
        assert found == {"file": "holds no examples"} or "file line 1.text" in found

    def test_one_that_was_deleted_is_told(self):
        files = ExampleFiles(
            store=FakeStore(),
            buckets=FakeBuckets(),
            catalogue=CATALOGUE,
            limits=Limits(),
            bounds=TableLimits(),
        )
        body = TrainRequest(model="tiny", classifier_id="c", file=ExampleFile(object="gone"))
        with pytest.raises(InvalidRequest, match="was deleted"):
            files.training(a_job(), body, lambda: None)

    def test_a_workbook_is_called_so(self):
        assert "Excel" in faults(b"PK\x03\x04" + bytes(50))["file"]


class TestParquet:
    def test_rows_are_examples(self):
        data = parquet(
            text=["one", "two"], label=["a", "b"], num_iters=[3, None], weight=[0.5, None]
        )
        first, second = read(data)
        assert (first.num_iters, first.weight) == (3, 0.5)
        assert (second.num_iters, second.weight) == (None, 1.0)

    def test_classes_may_be_numbers(self):
        data = parquet(text=["one", "two", "three"], label=[0, 1, None])
        assert said(read(data, labelled=False)) == [("one", "0"), ("two", "1"), ("three", None)]

    def test_what_is_wrong_is_named_by_its_row(self):
        data = parquet(text=["one", None, "x"], label=["a", "b", " "])
        assert faults(data) == {
            "file row 2.text": "must be a string",
            "file row 3.label": "must not be empty",
        }

    def test_a_column_that_is_missing_is_named(self):
        assert "no column 'label'; there are: 'text'" in faults(parquet(text=["x"]))["label_column"]


def jsonl(*lines: str) -> bytes:
    return "\n".join(lines).encode()


class TestJsonl:
    def test_every_line_is_an_example(self):
        found = read(
            jsonl(
                '{"text": "one", "label": "a", "more": [1]}',
                "",
                '  {"text": "a\\nb\u2028c", "label": "b", "num_iters": 3, "weight": 0.5}\r',
            )
        )

        assert said(found) == [("one", "a"), ("a\nb\u2028c", "b")]
        assert (found[1].num_iters, found[1].weight) == (3, 0.5)

    def test_the_keys_may_have_other_names(self):
        sent = jsonl('{"body": "one", "queue": "a", "text": 1}')

        assert said(read(sent, text_column="body", label_column="queue")) == [("one", "a")]

    def test_every_broken_line_is_named(self):
        sent = jsonl(
            '{"text": "one", "label": "a"}',
            '{"text": "one", "label": "a"',
            "[]",
            '{"text": 1, "label": null}',
            '{"label": "a"}',
            '{"text": "one", "label": "a", "label": "b"}',
            '{"text": "\\ud800", "label": "a"}',
            '{"image": "x", "text": "one", "label": "a"}',
            '{"text": "one", "label": "a", "weight": "1"}',
            '{"text": "one", "label": " "}',
            "",
            '{"text": "one", "label": "a", "num_iters": 11}',
            "text,label",
        )

        assert faults(sent, "x.jsonl") == {
            "file line 2": "is not valid JSON: it is truncated",
            "file line 3": "must be a JSON object, not an array",
            "file line 4.text": "must be a string",
            "file line 4.label": "must be a string",
            "file line 5.text": "is missing",
            "file line 6": "has a duplicate key in one object",
            "file line 7": r"holds an unpaired surrogate (\ud800 to \udfff)",
            "file line 8": "holds text and image: send each as a separate item",
            "file line 9.weight": "must be a number",
            "file line 10.label": "must not be empty",
            "file line 12.num_iters": "must be from 1 to 10, got 11",
            "file line 13": "is not valid JSON: invalid character (byte 4)",
        }

    def test_a_line_that_is_not_of_its_encoding_is_named(self):
        sent = '{"text": "é", "label": "a"}\n'.encode() * 2 + b'{"text": "\xff"}'

        assert list(faults(sent)) == ["file line 3"]

    def test_a_fault_has_the_name_that_the_file_has(self):
        found = faults(jsonl('{"body": "x"}'), text_column="body", label_column="queue")

        assert found == {"file line 1.queue": "is missing"}

    def test_no_more_faults_are_told_than_a_reader_reads(self):
        with pytest.raises(InvalidRequest, match=r"and 19 more") as caught:
            read(jsonl(*["x"] * 100), "x.jsonl")

        assert len(caught.value.fields) == 20

    @pytest.mark.slow
    def test_more_examples_than_any_call_has_are_not_read(self):
        sent = jsonl(*['{"text": "x", "label": "a"}'] * 70_000)

        assert "file line 65537" in faults(sent)

    def test_the_work_stops_where_its_lease_ends(self):
        CHECKS.clear()
        read(jsonl(*['{"text": "x", "label": "a"}'] * 2_500))

        assert len(CHECKS) == 2

    def test_a_label_may_lack_where_none_is_needed(self):
        sent = jsonl('{"text": "one"}', '{"text": "two", "label": "b"}')

        assert said(read(sent, labelled=False)) == [("one", None), ("two", "b")]

    def test_an_evaluation_needs_one_label_at_least(self):
        with pytest.raises(InvalidRequest, match="no example has a label"):
            read(jsonl('{"text": "one", "label": null}'), labelled=False)

    @given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
    def test_reads_what_json_writes(self, rows: list[tuple[str, str]]):
        rows = [(f"t{t}", f"w{w}") for t, w in rows]
        lines = [json.dumps({"text": t, "label": w}, ensure_ascii=False) for t, w in rows]

        assert said(read(jsonl(*lines))) == [(t, w.strip()) for t, w in rows]


class TestCsv:
    def test_every_row_is_an_example(self):
        found = read(
            " id ,text,label,num_iters,weight\r\n"
            '1,"one, ""quoted"",\r\nof two lines",a,3,0.5\r\n'
            "\r\n"
            ",,,,\r\n"
            "  \r\n"
            "2,two,b,,\r\n"
        )

        assert said(found) == [('one, "quoted",\r\nof two lines', "a"), ("two", "b")]
        assert (found[0].num_iters, found[0].weight) == (3, 0.5)
        assert (found[1].num_iters, found[1].weight) == (None, 1.0)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":", "^"])
    def test_the_delimiter_is_found_out(self, delimiter: str):
        text = f"id{delimiter}label{delimiter}text\n1{delimiter}a{delimiter}one; two| or, no\n"

        found = read(text.replace("one; two| or, no", '"one; two| or, no"'))

        assert said(found) == [("one; two| or, no", "a")]

    def test_a_delimiter_that_is_named_is_taken(self):
        assert said(read("text:label\na,b:c\n", delimiter=":")) == [("a,b", "c")]
        assert said(read("text\tlabel\na,b\tc\n", delimiter="tab")) == [("a,b", "c")]

    def test_columns_may_have_other_names(self):
        found = read("team,ticket\na,one\n", text_column="ticket", label_column="team")

        assert said(found) == [("one", "a")]

    def test_a_column_that_is_named_is_nothing_else(self):
        sent = "weight,num_iters\n12 kg,heavy\n"

        found = read(sent, text_column="weight", label_column="num_iters")

        assert said(found) == [("12 kg", "heavy")]
        assert (found[0].num_iters, found[0].weight) == (None, 1.0)

    def test_missing_columns_are_told_with_those_that_there_are(self):
        found = faults("ticket,team\none,a\n")

        assert "no column 'text'; there are: 'ticket', 'team'" in found["text_column"]
        assert "no column 'label'; there are: 'ticket', 'team'" in found["label_column"]

    @pytest.mark.parametrize(
        ("header", "field"),
        [("text,label,text", "text_column"), ("weight,text,label,weight", "file")],
    )
    def test_a_column_that_is_read_and_stands_twice_is_told(self, header: str, field: str):
        assert "are both called" in faults(f"{header}\na,b,c,d\n")[field]

    def test_every_broken_row_is_named(self):
        sent = (
            "text,label,num_iters,weight\n"
            '"two\nlines",a,,\n'
            "one\n"
            "one,a,x,heavy\n"
            "one,two,a,1,2\n"
            "one,a,1.5,nan\n"
            '"one" two,a,1,1\n'
            "one, ,1,1\n"
            '"two,a,1,1\n'
        )

        assert faults(sent) == {
            "file line 4": "has 1 field, but the header has 4",
            "file line 5.num_iters": "must be a whole number",
            "file line 5.weight": "must be a number",
            "file line 6": "has 5 fields, but the header has 4: quote every field that "
            "contains the delimiter",
            "file line 7.num_iters": "must be a whole number",
            "file line 7.weight": "must be a finite number",
            "file line 8": "has a quote within field 1 that is followed by neither a delimiter nor "
            "a line end: double each quote inside a quoted field",
            "file line 9.label": "must not be empty",
            "file line 10": "opens a quote that is never closed: quote the whole field, "
            "and double each quote in it",
        }

    def test_what_the_limits_refuse_of_all_is_told_by_its_line(self):
        found = faults("text,label\n" + "one,a\n" * 50_001)

        assert found == {
            "file line 50002": "at most 50000 examples are allowed in one call, got 50001; send "
            "the rest in further calls"
        }

    def test_a_title_above_the_header_is_skipped(self):
        sent = "Extract\ntext,label\none,a\n"

        assert said(read(sent, skip_rows=1)) == [("one", "a")]
        assert "Line 2 looks like the header" in faults(sent)["text_column"]

    def test_rows_without_a_word_are_passed_over_within_reason(self):
        assert "file line 65538" in faults("text,label\n" + ",\n" * 70_000 + "one,a\n")

    def test_a_long_text_is_one_cell(self):
        (found,) = read(f"text,label\n{'x' * 200_000},a\n")

        assert len(found.item.text) == 200_000

    def test_a_label_may_lack_where_none_is_needed(self):
        both = read("text,label\none,\ntwo,b\n", labelled=False)

        assert said(both) == [("one", None), ("two", "b")]


@given(st.binary(max_size=60), st.sampled_from(["x.csv", "x.jsonl", "x"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str):
    with suppress(PigeonholeError):
        read(data, name)


def test_the_job_counts_the_examples_of_its_file_and_forgets_it(bench: Bench):
    bench.store.put("jobs/acme/x/upload", b"text,label\nred rose,a\ngreen grass,b\nred bill,a\n")
    body = TrainRequest(
        model="tiny",
        classifier_id="c1",
        create=NewClassifier(),
        file=ExampleFile(object="jobs/acme/x/upload"),
    )
    job = bench.submit(body)

    bench.parts.run(bench.claim())

    done = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    assert done.state is State.SUCCEEDED
    assert done.progress == Progress(total=3, completed=3, failed=0)
    assert list(bench.store.list("jobs/acme/x/")) == []


def test_a_file_that_cannot_be_read_fails_its_job_with_the_lines(bench: Bench):
    bench.store.put("jobs/acme/x/upload", b"text,label\nred rose,a\ngreen grass\n")
    body = TrainRequest(
        model="tiny",
        classifier_id="c1",
        create=NewClassifier(),
        file=ExampleFile(object="jobs/acme/x/upload"),
    )
    job = bench.submit(body)

    bench.parts.run(bench.claim())

    done = decode(Job, bench.store.get(object_keys.job("acme", job.id)).data)
    assert done.error is not None
    assert [field for field, _, _ in done.error.fields] == ["file line 3"]
    assert list(bench.store.list("jobs/acme/x/")) == []
