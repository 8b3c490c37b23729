"""Ranges and conditions of a download, by RFC 9110."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.conftest import World
from tests.problems import assert_openai_error

DATA = bytes(range(200))
SIZE = len(DATA)


@pytest.fixture
def path(client: FlaskClient) -> str:
    form = {"purpose": "batch", "file": (io.BytesIO(DATA), "rows.bin")}
    answer = client.post("/v1/files", data=form, content_type="multipart/form-data")
    return f"/v1/files/{answer.get_json()['id']}/content"


@pytest.fixture
def get(client: FlaskClient, path: str) -> Callable[..., TestResponse]:
    return lambda **headers: client.get(
        path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


Get = Callable[..., TestResponse]


def test_the_whole_file_says_that_ranges_are_answered(get: Get):
    answer = get()

    assert (answer.status_code, answer.data) == (200, DATA)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"file-')
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=150-", 150, SIZE),
        ("bytes=199-", 199, SIZE),
        ("bytes=190-9999999999999999999", 190, SIZE),
        ("bytes=-5", 195, SIZE),
        ("bytes=-500", 0, SIZE),
    ],
)
def test_a_range_is_answered_with_its_bytes(get: Get, asked: str, first: int, end: int):
    answer = get(Range=asked)

    assert (answer.status_code, answer.data) == (206, DATA[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{SIZE}"
    assert answer.content_length == end - first
    assert answer.headers["Content-Disposition"] == "attachment; filename=rows.bin"


@pytest.mark.parametrize(
    "asked",
    ["bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes 1-2"],
)
def test_what_is_no_single_range_is_answered_with_the_whole_file(get: Get, asked: str):
    answer = get(Range=asked)

    assert (answer.status_code, answer.data) == (200, DATA)


@pytest.mark.parametrize("asked", ["bytes=200-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_without_bytes_says_how_many_there_are(get: Get, asked: str):
    answer = get(Range=asked)

    assert_openai_error(answer, 416)
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


def test_a_range_may_depend_on_the_etag(get: Get):
    etag = get().headers["ETag"]

    assert get(Range="bytes=5-", If_Range=etag).status_code == 206
    for other in ('"other"', f"W/{etag}", "Sun, 29 Nov 2026 16:00:00 GMT"):
        answer = get(Range="bytes=5-", If_Range=other)
        assert (answer.status_code, answer.data) == (200, DATA)


def test_what_is_known_is_not_sent_again(get: Get):
    etag = get().headers["ETag"]

    for known in (etag, f'W/{etag}, "b"', "*"):
        answer = get(If_None_Match=known, Range="bytes=5-")
        assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", etag)
    assert get(If_None_Match='"other"').status_code == 200


def test_other_bytes_than_those_that_are_meant_are_refused(get: Get):
    etag = get().headers["ETag"]

    assert get(If_Match=etag).status_code == get(If_Match="*").status_code == 200
    assert_openai_error(get(If_Match='"other"'), 412)
    assert_openai_error(get(If_Match=f"W/{etag}"), 412)


def test_head_says_what_get_would_and_reads_nothing(
    client: FlaskClient, path: str, world: World, monkeypatch: pytest.MonkeyPatch
):
    whole = client.get(path)

    def open_(*_: object, **__: object) -> io.BytesIO:
        raise AssertionError("nothing is to be read")

    monkeypatch.setattr(world.store, "open", open_)
    answer = client.head(path, headers={"Range": "bytes=5-"})

    assert (answer.status_code, answer.data) == (200, b"")
    for name in ("Content-Length", "ETag", "Accept-Ranges", "Content-Type", "Content-Disposition"):
        assert answer.headers[name] == whole.headers[name]


def test_an_empty_file_has_no_range(client: FlaskClient):
    form = {"purpose": "batch", "file": (io.BytesIO(b""), "none.bin")}
    file = client.post("/v1/files", data=form, content_type="multipart/form-data").get_json()

    whole = client.get(f"/v1/files/{file['id']}/content")
    part = client.get(f"/v1/files/{file['id']}/content", headers={"Range": "bytes=0-"})

    assert (whole.status_code, whole.data, whole.content_length) == (200, b"", 0)
    assert (part.status_code, part.headers["Content-Range"]) == (416, "bytes */0")
