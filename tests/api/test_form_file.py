from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import encode_multipart

from api.http import form_file
from api.http.form_file import UploadedForm
from api.schemas.example_file import UploadedFile
from shared.errors import InvalidRequest

BOUNDARY = "multipart/form-data; boundary=x"


def multipart(**parts: object) -> tuple[bytes, str]:
    """A form as a client writes it, and its Content-Type."""
    boundary, data = encode_multipart(parts)
    return data, f"multipart/form-data; boundary={boundary}"


def read(data: bytes, content_type: str, **query: str) -> UploadedForm | None:
    return form_file.read(data, content_type=content_type, query=query)


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", "multi/;;"])
def test_what_is_no_file_is_left_to_be_read_as_json(content_type: str):
    assert read(b"{}", content_type) is None


@pytest.mark.parametrize(
    "content_type", ["text/csv", "Text/CSV; charset=utf-8", "application/x-ndjson"]
)
def test_a_bare_file_has_its_fields_in_the_query(content_type: str):
    found = read(b"text,label", content_type, name="spam", model="")

    assert found is not None
    assert found.file.data == b"text,label"
    assert found.file.media_type == content_type.partition(";")[0].lower()
    assert found.fields == {"name": "spam"}


def test_a_field_that_stands_twice_in_the_query_is_refused():
    query = MultiDict([("name", "spam"), ("name", "ham")])

    with pytest.raises(InvalidRequest, match="name: is given twice"):
        form_file.read(b"text,label", content_type="text/csv", query=query)


def test_a_form_has_a_file_and_fields():
    data, content_type = multipart(
        file=FileStorage(io.BytesIO(b"text,label\r\n"), "x.csv", content_type="text/csv"),
        name="spam",
        description="",
        num_iters="3",
    )

    found = read(data, content_type)

    assert found == UploadedForm(
        file=UploadedFile(data=b"text,label\r\n", name="x.csv", media_type="text/csv"),
        fields={"name": "spam", "num_iters": "3"},
    )


@pytest.mark.parametrize("line", [b"some text,label\r\n", b"\n", b"\r\n--y", b"x"])
def test_a_large_file_comes_through_as_it_is(line: bytes):
    data, content_type = multipart(file=FileStorage(io.BytesIO(line * 200_000), "x.csv"))

    found = read(data, content_type)

    assert found is not None
    assert found.file.data == line * 200_000


def test_the_boundary_does_not_make_two_uploads_differ():
    part = 'Content-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\na,b\r\n'

    def sent(boundary: str) -> UploadedForm | None:
        data = f"--{boundary}\r\n{part}--{boundary}--\r\n"
        return read(data.encode(), f"multipart/form-data; boundary={boundary}")

    one, other = sent("x"), sent("y")

    assert one is not None
    assert other is not None
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("data", "content_type", "says"),
    [
        (b"--x--\r\n", "multipart/form-data", "Content-Type: has no boundary"),
        (b"", BOUNDARY, "body: is not valid multipart"),
        (b"nonsense", BOUNDARY, "body: is not valid multipart"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
            BOUNDARY,
            "ends early",
        ),
        (b"--x--\r\n", BOUNDARY, "file: is missing: send the examples as this part"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--\r\n',
            BOUNDARY,
            "file: is missing: give the part a filename",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n' * 2
            + b"--x--\r\n",
            BOUNDARY,
            "file: is given twice",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n'
            b'--x\r\nContent-Disposition: form-data; name="name"; filename="b"\r\n\r\nb\r\n'
            b"--x--\r\n",
            BOUNDARY,
            "name: must not be a file",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n'
            + b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nb\r\n' * 2
            + b"--x--\r\n",
            BOUNDARY,
            "name: is given twice",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n' * 40 + b"--x--\r\n",
            BOUNDARY,
            "body: at most 32 parts",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
            + b"a" * 70_000
            + b"\r\n--x--\r\n",
            BOUNDARY,
            "65536 bytes in each part except the file",
        ),
    ],
)
def test_refuses(data: bytes, content_type: str, says: str):
    with pytest.raises(InvalidRequest, match=says):
        read(data, content_type)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes):
    with suppress(InvalidRequest):
        read(b"--x\r\n" + data, BOUNDARY)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_part_without_a_name_is_refused(parts: int):
    part = b"--x\r\nContent-Disposition: form-data\r\n\r\nvalue\r\n"
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\na\r\n'

    with pytest.raises(InvalidRequest, match="without a name"):
        read(part * parts + file + b"--x--\r\n", BOUNDARY)
