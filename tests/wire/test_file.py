from __future__ import annotations

import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire import file
from api.wire.file import Columns, File, FileExamples
from shared.errors import InvalidRequest

PLAIN = Columns()
BOM = b"\xef\xbb\xbf"


def jsonl(*lines: str) -> File:
    return File(data="\n".join(lines).encode(), name="x.jsonl")


def table(text: str) -> File:
    return File(data=text.encode(), name="x.csv")


def said(found: FileExamples) -> list[tuple[str, str | None]]:
    return [(example.item.text, example.label) for example in found.examples]


def faults(sent: File, where: Columns = PLAIN, **options: bool) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        file.read(sent, where, **options)
    return {fault.field: fault.message for fault in caught.value.fields}


class TestKinds:
    JSONL = b'{"text": "one", "label": "a"}\n'
    CSV = b"text,label\none,a\n"

    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("x.jsonl", "text/csv"),
            ("x.NDJSON", ""),
            ("x", "application/x-ndjson"),
            ("", "application/jsonl"),
            ("x.txt", "application/octet-stream"),
        ],
    )
    def test_jsonl_is_told_by_name_media_type_or_first_character(self, name: str, media_type: str):
        sent = File(data=self.JSONL, name=name, media_type=media_type)

        assert said(file.read(sent, PLAIN)) == [("one", "a")]

    @pytest.mark.parametrize(
        ("name", "media_type"),
        [("x.csv", "application/jsonl"), ("x", "text/csv"), ("x.tsv", ""), ("", "")],
    )
    def test_and_so_is_csv(self, name: str, media_type: str):
        sent = File(data=self.CSV, name=name, media_type=media_type)

        assert said(file.read(sent, PLAIN)) == [("one", "a")]

    @pytest.mark.parametrize("data", [JSONL, CSV])
    def test_a_byte_order_mark_is_no_part_of_it(self, data: bytes):
        assert said(file.read(File(data=BOM + data), PLAIN)) == [("one", "a")]

    @pytest.mark.parametrize("data", [b"", b" \n\n", b"\t"])
    def test_an_empty_file_is_refused(self, data: bytes):
        assert faults(File(data=data)) == {"file": "is empty: send JSONL, or CSV with a header"}

    @pytest.mark.parametrize(
        ("data", "packed"),
        [
            (gzip.compress(JSONL, mtime=0), "gzip"),
            (gzip.compress(CSV, mtime=0), "gzip"),
            (b"\x28\xb5\x2f\xfd\x04\x00\x41\x00", "zstd"),
        ],
    )
    @pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.csv.gz", ""])
    def test_a_compressed_file_is_called_so(self, data: bytes, packed: str, name: str):
        found = faults(File(data=data, name=name))

        assert found == {"file": f"is compressed ({packed}): unpack it first"}

    @pytest.mark.parametrize("data", [b"text,label\n", b"text,label\n,\n \n"])
    def test_a_file_of_a_header_alone_is_refused(self, data: bytes):
        assert faults(File(data=data)) == {"file": "holds no examples"}


class TestJsonl:
    def test_every_line_is_an_example(self):
        found = file.read(
            jsonl(
                '{"text": "one", "label": "a", "more": [1]}',
                "",
                '  {"text": "a\\nb\u2028c", "label": "b", "num_iters": 3, "weight": 0.5}\r',
            ),
            PLAIN,
        )

        assert said(found) == [("one", "a"), ("a\nb\u2028c", "b")]
        assert (found.examples[1].num_iters, found.examples[1].weight) == (3, 0.5)
        assert [found.place(0), found.place(1)] == ["file line 1", "file line 3"]

    def test_the_keys_may_have_other_names(self):
        sent = jsonl('{"body": "one", "queue": "a", "text": 1}')

        assert said(file.read(sent, Columns(text="body", label="queue"))) == [("one", "a")]

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
            "text,label",
        )

        assert faults(sent) == {
            "file line 2": "is not JSON at column 29: Expecting ',' delimiter",
            "file line 3": "must be an object with a label and a text, an image or a file",
            "file line 4.text": "must be a string",
            "file line 4.label": "must be a string",
            "file line 5.text": "is missing",
            "file line 6": "the key 'label' stands twice in one object",
            "file line 7.text": "holds half of a surrogate pair; send whole characters",
            "file line 8": "is one thing: send text or image, the other as a further item",
            "file line 9.weight": "must be a number",
            "file line 10": "is not JSON at column 1: Expecting value",
        }

    def test_a_line_that_is_not_utf_8_is_named(self):
        sent = File(data=b'{"text": "one", "label": "a"}\n{"text": "\xff"}', name="x.jsonl")

        assert faults(sent) == {"file line 2": "is not UTF-8 at byte 10"}

    def test_a_fault_has_the_name_that_the_file_has(self):
        where = Columns(text="body", label="queue")

        assert faults(jsonl('{"body": "x"}'), where) == {"file line 1.queue": "is missing"}

    def test_no_more_faults_are_told_than_a_reader_reads(self):
        with pytest.raises(InvalidRequest, match=r"and 19 more") as caught:
            file.read(jsonl(*["x"] * 100), PLAIN)

        assert len(caught.value.fields) == 20

    @pytest.mark.slow
    def test_more_examples_than_any_call_has_are_not_read(self):
        sent = jsonl(*['{"text": "x", "label": "a"}'] * 70_000)

        assert "file line 65537" in faults(sent)

    def test_a_label_may_lack_where_none_is_needed(self):
        sent = jsonl('{"text": "one"}', '{"text": "two", "label": null}')

        assert said(file.read(sent, PLAIN, labelled=False)) == [("one", None), ("two", None)]

    @given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
    def test_reads_what_json_writes(self, rows: list[tuple[str, str]]):
        lines = [json.dumps({"text": t, "label": w}, ensure_ascii=False) for t, w in rows]

        assert said(file.read(jsonl(*lines), PLAIN)) == [(t, w.strip()) for t, w in rows]


class TestCsv:
    def test_every_row_is_an_example(self):
        found = file.read(
            table(
                " id ,text,label,num_iters,weight\r\n"
                '1,"one, ""quoted"",\r\nof two lines",a,3,0.5\r\n'
                "\r\n"
                ",,,,\r\n"
                "2,two,b,,\r\n"
            ),
            PLAIN,
        )

        assert said(found) == [('one, "quoted",\r\nof two lines', "a"), ("two", "b")]
        assert (found.examples[0].num_iters, found.examples[0].weight) == (3, 0.5)
        assert (found.examples[1].num_iters, found.examples[1].weight) == (None, 1.0)
        assert found.lines == (2, 6)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_found_out(self, delimiter: str):
        text = f"id{delimiter}label{delimiter}text\n1{delimiter}a{delimiter}one; two| or, no\n"
        sent = table(text.replace("one; two| or, no", '"one; two| or, no"'))

        assert said(file.read(sent, PLAIN)) == [("one; two| or, no", "a")]

    def test_a_delimiter_that_is_named_is_taken(self):
        where = file.columns(None, None, ":")

        assert said(file.read(table("text:label\na,b:c\n"), where)) == [("a,b", "c")]
        assert file.columns(None, None, "tab").delimiter == "\t"

    def test_columns_may_have_other_names(self):
        where = file.columns("ticket", "team", None)

        assert said(file.read(table("team,ticket\na,one\n"), where)) == [("one", "a")]

    def test_a_column_that_is_named_is_nothing_else(self):
        where = Columns(text="weight", label="num_iters")

        found = file.read(table("weight,num_iters\n12 kg,heavy\n"), where)

        assert said(found) == [("12 kg", "heavy")]
        assert (found.examples[0].num_iters, found.examples[0].weight) == (None, 1.0)

    def test_a_missing_column_is_told_with_those_that_there_are(self):
        found = faults(table("ticket,team\none,a\n"))

        assert found["text_column"] == "the file has no column 'text'; it has 'ticket', 'team'"
        assert found["label_column"] == "the file has no column 'label'; it has 'ticket', 'team'"

    def test_a_column_that_stands_twice_is_told(self):
        assert faults(table("text,label,text\na,b,c\n")) == {
            "file line 1": "has the column 'text' twice"
        }

    def test_every_broken_row_is_named(self):
        sent = table(
            "text,label,num_iters,weight\n"
            '"two\nlines",a,,\n'
            "one\n"
            "one,a,x,heavy\n"
            "one,two,a,1,2\n"
            "one,a,1.5,nan\n"
        )

        assert faults(sent) == {
            "file line 4": "has not the 4 cells of the header but 1: put a cell that "
            "holds the delimiter into quotes",
            "file line 5.num_iters": "must be a whole number",
            "file line 5.weight": "must be a number",
            "file line 6": "has not the 4 cells of the header but 5: put a cell that "
            "holds the delimiter into quotes",
            "file line 7.num_iters": "must be a whole number",
            "file line 7.weight": "must be a finite number",
        }

    def test_a_quote_that_is_never_closed_is_named_where_it_opens(self):
        sent = table('text,label\none,a\n"two,a\nthree,a\n')

        assert faults(sent) == {"file line 3": "opens a quote that is never closed"}

    def test_words_behind_a_quote_are_told(self):
        assert "is no CSV" in faults(table('text,label\n"one" two,a\n'))["file line 2"]

    def test_a_text_that_is_not_utf_8_is_named(self):
        sent = File(data=b"text,label\none,a\ntwo \xe9,b\n", name="x.csv")

        assert faults(sent) == {"file line 3": "is not UTF-8: save the file as UTF-8"}

    def test_rows_without_a_word_are_passed_over_within_reason(self):
        assert "file line 65538" in faults(table("text,label\n" + ",\n" * 70_000 + "one,a\n"))

    def test_a_long_text_is_one_cell(self):
        found = file.read(table(f"text,label\n{'x' * 200_000},a\n"), PLAIN)

        assert len(found.examples[0].item.text) == 200_000

    def test_a_label_may_lack_where_none_is_needed(self):
        both = file.read(table("text,label\none,\ntwo,b\n"), PLAIN, labelled=False)
        none = file.read(table("text\none\n"), PLAIN, labelled=False)

        assert said(both) == [("one", None), ("two", "b")]
        assert said(none) == [("one", None)]


@given(st.binary(max_size=60), st.sampled_from(["x.csv", "x.jsonl", "x"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str):
    with suppress(InvalidRequest):
        file.read(File(data=data, name=name), PLAIN)
