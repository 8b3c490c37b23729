"""The grammar of CSV: as Python's `csv` where that is right, and better where it is not."""

from __future__ import annotations

import csv
import io
import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.workers.inputs.streams import chunks
from workers.inputs.tables.csv_grammar import CsvRecords, Record
from workers.inputs.tables.lines import lines
from workers.inputs.tables.row import RowFault

CELLS = st.text(
    st.sampled_from('ab",;\r\n é😀\u2028\x85') | st.characters(exclude_categories=["Cs"])
)
TABLES = st.lists(st.lists(CELLS.map(lambda x: x.replace("\0", "")), min_size=1, max_size=4))
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def records_of(
    text: str, *, delimiter: str = ",", encoding: str = "utf-8", sizes: list[int], most: int = 1000
) -> list[Record]:
    cut = lines(chunks(text.encode(encoding), sizes), max_bytes=most)
    return list(CsvRecords(cut, delimiter=delimiter, encoding=encoding, max_bytes=most))


def cells_of(text: str, delimiter: str = ",") -> list[list[str] | str]:
    found = records_of(text, delimiter=delimiter, sizes=[1 << 20])
    return [cells.code if isinstance(cells, RowFault) else cells for _, cells in found]


@given(
    TABLES,
    ENDS,
    st.sampled_from(",;\t|^]-\\§"),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["utf-8", "gb18030"]),
    st.lists(st.integers(1, 6), min_size=1),
)
def test_any_table_comes_back_wherever_chunks_end(
    table: list[list[str]], end: str, delimiter: str, quoting: int, encoding: str, sizes: list[int]
):
    written = io.StringIO(newline="")
    # The writer quotes what holds a character of its line end, and so has to know of both.
    csv.writer(written, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerows(
        table
    )
    text = written.getvalue()
    if not any("\n" in cell or "\r" in cell for row in table for cell in row):
        text = text.replace("\r\n", end)

    found = records_of(text, delimiter=delimiter, encoding=encoding, sizes=sizes)

    assert [cells for _, cells in found] == table


@given(st.text('ab",\\\u00e9 ', max_size=20))
def test_a_line_that_is_csv_is_read_as_csv_reads_it(text: str):
    blanks_at_quotes = re.search(r'(?:^|,) +"|" +(?:,|$)', text)
    try:
        expected = list(csv.reader([text], strict=True)) if text else []
    except csv.Error:
        return
    if not blanks_at_quotes:
        assert cells_of(text) == expected


@given(st.text('ab",\\ \n', max_size=40), st.sampled_from(",;b"))
@example('1,"She said \\"where is it\\" to me"', ",")
@example('3,"quoted" then not', ",")
def test_every_cell_of_any_text_stands_in_it(text: str, delimiter: str):
    for cells in cells_of(text, delimiter):
        for cell in cells if isinstance(cells, list) else ():
            assert cell in text or cell.replace('"', '""') in text


@given(st.text('a",\\ \n', max_size=40), st.sampled_from(",;"))
def test_a_cell_with_a_quote_is_plain_or_was_quoted_from_end_to_end(text: str, delimiter: str):
    for cells in cells_of(text, delimiter):
        for cell in cells if isinstance(cells, list) else ():
            quoted = cell.replace('"', '""')
            if '"' in cell and f'"{quoted}"' not in text:
                assert not cell.lstrip(" ").startswith('"')
                assert cell in text


@given(st.text('a",\n', max_size=30), st.integers(1, 12))
def test_every_line_is_in_a_record_or_begins_a_fault(text: str, most: int):
    found = records_of(text, sizes=[1 << 20], most=most)

    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    assert len(text.split("\n")) >= len(found)
    # What is not blank is accounted for: no record begins above it and ends below without it.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and '"' not in text:
            assert number in numbers


def test_a_cell_may_hold_line_ends_of_any_kind():
    text = 'id,text\r\n1,"a\nb\r\nc\rd"\r\n2,e\r\n'
    assert records_of(text, sizes=[1]) == [
        (1, ["id", "text"]),
        (2, ["1", "a\nb\r\nc\rd"]),
        (6, ["2", "e"]),
    ]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('"a""b",c', [['a"b', "c"]]),
        ('"a"b,c', ["stray_quote"]),
        ('c,"a"b', ["stray_quote"]),
        ('"a" "b",c', ["stray_quote"]),
        ('"a\\"b\\"",c', ["stray_quote"]),
        ('"a\\"",c', ["unclosed_quote"]),
        ('"a\\\\",c', [["a\\\\", "c"]]),
        (' "a, b" , "c"\t', [["a, b", "c"]]),
        (' "a\nb" ,c', [["a\nb", "c"]]),
        ('a, "b""c" d\ne', ["stray_quote", ["e"]]),
        (" a , b ", [[" a ", " b "]]),
        ('"a\nb","c"d\ne', ["stray_quote", "stray_quote", ["e"]]),
        ('a"b,c"', [['a"b', 'c"']]),
        ('"",""', [["", ""]]),
        ('""', [[""]]),
        (",", [["", ""]]),
        ('"a\n"",""\nb",c', [['a\n","\nb', "c"]]),
        ('"a\nb","c\nd"', [["a\nb", "c\nd"]]),
        ('a,"b\n",c\nd', [["a", "b\n", "c"], ["d"]]),
        ("a\n\n\nb", [["a"], ["b"]]),
        ("a\n \nb", [["a"], [" "], ["b"]]),
        ("a\u2028b\x85c\x0bd", [["a\u2028b\x85c\x0bd"]]),
    ],
)
def test_quotes_and_line_ends(text: str, cells: list[list[str]]):
    assert cells_of(text) == cells


def test_blanks_are_no_blanks_where_they_are_the_delimiter():
    assert cells_of('"a"\t"b"\t\t c', "\t") == [["a", "b", "", " c"]]
    assert cells_of('"a" \t "b" ', "\t") == [["a", "b"]]
    assert cells_of('"a b" "c"', " ") == [["a b", "c"]]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (r'1,"say \"hi\""', "within field 2 that is escaped by a backslash"),
        ('1,2,"quoted" then', "within field 3 that is followed by neither a delimiter nor"),
    ],
)
def test_a_stray_quote_is_named(text: str, how: str):
    ((_, found),) = records_of(text, sizes=[1 << 20])
    assert isinstance(found, RowFault)
    assert how in found.message


def test_a_stray_quote_costs_its_own_line_only():
    text = '1,a\n2,"stray\n3,"c"\n4,"d\nd"\n5,e\n'
    assert cells_of(text) == [["1", "a"], "unclosed_quote", ["3", "c"], ["4", "d\nd"], ["5", "e"]]


def test_a_quote_never_closed_costs_its_own_line_only():
    text = '1,a\n2,"stray\n' + "3,c\n" * 1000
    assert cells_of(text) == [["1", "a"], "unclosed_quote", *[["3", "c"]] * 1000]
    assert cells_of('1,a\n2,"stray') == [["1", "a"], "unclosed_quote"]


def test_a_line_too_long_within_quotes_ends_them():
    text = '1,"a\n' + "x" * 2000 + '\n3,c"\n'
    found = cells_of(text)
    assert found == ["unclosed_quote", "row_too_long", ["3", 'c"']]


def test_a_record_within_the_bound_is_one_and_beyond_it_is_not():
    fits = '"' + "a\n" * 498 + 'a"\n'
    assert len(fits) == 1000
    assert cells_of(fits) == [["a\n" * 498 + "a"]]
    assert cells_of('"a' + fits[1:])[:2] == ["unclosed_quote", ["a"]]


@pytest.mark.parametrize("line", ['a",b"c,"d\n', '"a\n', 'a,"\n', '""",\n'])
def test_quotes_in_every_line_are_read_in_time_in_proportion(line: str):
    count = 0

    class Counted(CsvRecords):
        def _next(self):
            nonlocal count
            count += 1
            return super()._next()

    cut = lines(iter([line.encode() * 20_000]), max_bytes=1 << 16)
    found = list(Counted(cut, delimiter=",", encoding="utf-8", max_bytes=1 << 16))

    assert found
    assert count <= 20_000 * 10 + 10


def test_lines_given_up_together_are_named():
    cut = lines(iter([b'a",b"c,"d\n' * 10_000]), max_bytes=10_000)
    found = list(CsvRecords(cut, delimiter=",", encoding="utf-8", max_bytes=10_000))

    passed = [
        each.message
        for _, each in found
        if isinstance(each, RowFault) and "are skipped" in each.message
    ]
    assert passed
    assert all(isinstance(each, RowFault) for _, each in found)


def test_a_quote_never_closed_is_held_up_to_the_bound_only():
    tracemalloc.start()
    try:
        blocks = [b'1,"stray\n', *[b"1," + b"x" * 4000 + b"\n"] * 10_000]
        cut = lines(iter(blocks), max_bytes=1 << 20)
        found = sum(1 for _ in CsvRecords(cut, delimiter=",", encoding="utf-8", max_bytes=1 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 10_001
    assert peak < 4 << 20


def test_nul_bytes_are_a_fault_also_alone():
    assert cells_of("a,b\n1,x\0y\n\0\0\n2,z\n") == [
        ["a", "b"],
        "nul_byte",
        "nul_byte",
        ["2", "z"],
    ]


def test_a_broken_line_within_quotes_is_a_fault_of_its_record():
    data = b'a,"b\n\xff\nc"\nd,e\n'
    cut = lines([data], max_bytes=1000)
    found = list(CsvRecords(cut, delimiter=",", encoding="utf-8", max_bytes=1000))
    assert [each.code if isinstance(each, RowFault) else each for _, each in found] == [
        "undecodable",
        ["d", "e"],
    ]


def test_a_head_ends_before_the_record_that_it_cuts():
    cut = lines([b'a,b\n1,"c\nd'], max_bytes=1000)
    found = list(CsvRecords(cut, delimiter=",", encoding="utf-8", max_bytes=1000, whole=False))
    assert found == [(1, ["a", "b"])]
