"""What a file is; its encoding by all of it, however far down the first letter stands."""

from __future__ import annotations

import gzip
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.inputs.streams import chunks
from tests.workers.inputs.test_encodings import GERMAN, RUSSIAN
from workers.inputs.tables.charset import guessed
from workers.inputs.tables.compression import CHUNK_BYTES
from workers.inputs.tables.detect_format import format_of
from workers.inputs.tables.file_format import DeclaredFormat, Format
from workers.inputs.tables.sniff import HEAD_BYTES

PLAIN = "1,an ordinary ticket without an accent\n"
LATE = "id,text\n" + PLAIN * (2 * HEAD_BYTES // len(PLAIN))


def found_of(data: bytes, said: DeclaredFormat | None = None) -> tuple[Format, int]:
    """What it is, and how often it was opened."""
    opened = 0

    def open_() -> io.BytesIO:
        nonlocal opened
        opened += 1
        return io.BytesIO(data)

    return format_of(open_, declared=said), opened


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("2,we met at the café\n", "cp1252"),
        ("2,we met at the café\n", "utf-8"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "utf-8"),
    ],
)
def test_the_first_letter_may_stand_far_below(text: str, encoding: str, packed: bool):
    data = (LATE + text).encode(encoding)
    found, _ = found_of(gzip.compress(data) if packed else data)
    assert (found.encoding, found.delimiter) == (encoding, ",")


@pytest.mark.parametrize("late", ["cp1252", "utf-8"])
def test_most_lines_decide_wherever_they_stand(late: str):
    early = "utf-8" if late == "cp1252" else "cp1252"
    text = "2,we met at the café\n"
    data = text.encode(early) * 3 + LATE.encode() + text.encode(late) * 7
    assert found_of(data)[0].encoding == late


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LATE.encode("utf-16"), None),
        (LATE.encode("utf-8-sig"), None),
        (LATE.encode("utf-16-le"), None),
        (LATE.encode(), DeclaredFormat(encoding="cp1252")),
        (GERMAN.encode("cp1252"), None),
    ],
)
def test_what_is_decided_is_not_read_to_its_end(data: bytes, said: DeclaredFormat | None):
    assert found_of(data, said)[1] == 1


def test_a_broken_file_is_judged_by_what_can_be_read():
    data = gzip.compress(LATE.encode() + b"2,caf\xe9\n" + bytes(range(256)) * 4096, mtime=0)
    assert found_of(data[: len(data) - 20])[0].kind == "csv"


@pytest.mark.parametrize(
    "text",
    [
        "1,an ordinary line of a täble\n",
        "7,El niño\n",
        "3,the garçon was late\n",
        "text,price\na,£5\n",
        "a,€5\n",
        "5,It’s broken – “again”\n",  # noqa: RUF001
        "1,naïve résumé of the Señor\n",
        "x,¿Qué?\n",
        "4,10 °C, 5 m² – crème brûlée\n",  # noqa: RUF001
    ],
)
@pytest.mark.parametrize("times", [1, 50])
def test_a_letter_or_two_are_those_of_western_europe(text: str, times: int):
    assert guessed([(text * times).encode("cp1252")], whole=True) == "cp1252"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("1,table für\n" * 9, "cp850"),
        ("да\n", "cp1251"),
    ],
)
def test_others_are_not_taken_for_it(text: str, encoding: str):
    assert guessed([text.encode(encoding)], whole=True) != "cp1252"


@given(
    st.lists(st.text("aé\n€", max_size=9), max_size=20),
    st.lists(st.integers(1, 7), min_size=1),
    st.booleans(),
)
def test_chunks_may_end_anywhere(texts: list[str], sizes: list[int], whole: bool):
    data = "\n".join(texts).encode()
    assert guessed(chunks(data, sizes), whole=whole) == "utf-8"


def test_a_line_of_many_megabytes_is_judged_too():
    line = "ñandú €" * 700_000
    assert guessed(chunks(line.encode(), [CHUNK_BYTES + 1]), whole=True) == "utf-8"
    assert guessed(chunks(line.encode("cp1252"), [CHUNK_BYTES + 1]), whole=True) == "cp1252"


def test_judging_takes_a_small_part_of_reading():
    data = ("1,an ordinary ticket with one áccent in it\n" * 100_000).encode()
    began = time.process_time()
    guessed(chunks(data, [CHUNK_BYTES]), whole=True)
    judged = time.process_time() - began
    began = time.process_time()
    for line in data.splitlines():
        line.decode().split(",")
    assert judged < 2 * (time.process_time() - began)
