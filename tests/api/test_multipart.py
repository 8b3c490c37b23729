from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.multipart import FormFile
from shared.errors import BodyTooLarge, InvalidRequest

BOUNDARY = "multipart/form-data; boundary=x"
ALMOST = [b"\r\n", b".--x", b"\r", b"\n", b"--", b"-", b"\r\n--y", b"\n--X", b"a" * 70_000]


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    said = f'; filename="{filename}"' if filename is not None else ""
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{said}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def form(*parts: bytes, end: bytes = b"--x--\r\n", max_bytes: int = 2**20) -> FormFile:
    return FormFile(io.BytesIO(b"".join(parts) + end), content_type=BOUNDARY, max_bytes=max_bytes)


def whole(found: FormFile, size: int = 1000) -> bytes:
    """The file, read to its end by pieces of a size; the fields after it are read, too."""
    found.find()
    pieces = list(iter(lambda: found.read(size), b""))
    assert all(len(piece) <= size for piece in pieces)
    found.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("before", [True, False])
def test_fields_may_stand_before_and_after_the_file(before: bool):
    parts = [part("purpose", b"batch"), part("file", b"a,b", "x.csv")]
    found = form(*(parts if before else parts[::-1]))

    assert whole(found) == b"a,b"
    assert found.fields == {"purpose": "batch"}
    assert found.name == "x.csv"
    assert found.size == 3
    assert found.sha256 == hashlib.sha256(b"a,b").digest()


def test_only_what_stands_before_the_file_is_known_when_it_begins():
    found = form(part("a", b"1"), part("file", b"", "x"), part("b", "ü".encode()))

    found.find()

    assert found.fields == {"a": "1"}
    assert found.read(9) == b""
    found.finish()
    assert found.fields == {"a": "1", "b": "ü"}


@given(pieces=st.lists(st.integers(0, len(ALMOST) - 1), max_size=12), size=st.integers(1, 100_000))
def test_a_file_comes_through_as_it_is(pieces: list[int], size: int):
    sent = b"".join(ALMOST[i] for i in pieces)

    assert whole(form(part("file", sent, "x")), size) == sent


def test_other_files_are_passed_over():
    found = form(part("other", b"no", "y"), part("file", b"yes", "x"), part("third", b"no", "z"))

    assert whole(found) == b"yes"
    assert found.fields == {}


@pytest.mark.parametrize(
    ("found", "field"),
    [
        (form(part("purpose", b"batch")), "file"),
        (form(part("file", b"not a file, for it has no name")), "file"),
        (form(part("file", b"1", "x"), part("file", b"2", "y")), "file"),
        (form(part("file", b"1", "x"), end=b""), "body"),
        (form(part("file", b"1", "x"), part("a", b"\xff")), "body"),
        (form(part("a", b"1" * 20_000), part("file", b"1", "x")), "body"),
        (form(*(part(f"f{i}", b"") for i in range(40)), part("file", b"1", "x")), "body"),
        (form(b"--x\r\nA: " + b"b" * 300_000, part("file", b"1", "x")), "body"),
        (form(b"no form at all"), "file"),
        (form(end=b"no form at all"), "body"),
        (form(end=b""), "body"),
    ],
)
def test_what_is_no_such_form_is_refused(found: FormFile, field: str):
    with pytest.raises(InvalidRequest) as caught:
        whole(found)

    assert caught.value.fields[0].field == field


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
def test_what_says_it_is_no_form_is_refused(content_type: str):
    with pytest.raises(InvalidRequest, match="Content-Type"):
        FormFile(io.BytesIO(), content_type=content_type, max_bytes=9)


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not():
    assert whole(form(part("file", b"a" * 100, "x"), max_bytes=100)) == b"a" * 100

    with pytest.raises(BodyTooLarge, match="at most 99 bytes"):
        whole(form(part("file", b"a" * 100, "x"), max_bytes=99))
