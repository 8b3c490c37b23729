"""Large answers are compressed where the client reads it, and nothing else is."""

from __future__ import annotations

import gzip
import io
import json
import sys
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.http.compression import MIN_BYTES
from tests.api.conftest import World

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGE = {"input": ["a"] * 40, "labels": [f"label {n}" for n in range(100)]}
SMALL = {"input": "a", "labels": ["x", "y"]}


@pytest.mark.parametrize(
    ("accepted", "encoding", "decode"),
    [
        ("gzip", "gzip", gzip.decompress),
        ("gzip, deflate, br", "gzip", gzip.decompress),
        ("gzip, deflate, br, zstd", "zstd", zstd.decompress),
        ("*", "zstd", zstd.decompress),
        ("zstd;q=0.1, gzip;q=0.2", "gzip", gzip.decompress),
    ],
)
def test_a_large_answer_is_encoded_as_is_asked(
    client: FlaskClient, accepted: str, encoding: str, decode: Any
):
    plain = client.post("/v1/classify", json=LARGE)

    answer = client.post("/v1/classify", json=LARGE, headers={"Accept-Encoding": accepted})

    assert answer.headers["Content-Encoding"] == encoding
    assert "Accept-Encoding" in answer.vary
    assert answer.content_length == len(answer.data) < len(plain.data) / 4
    assert decode(answer.data) == plain.data


@pytest.mark.parametrize(
    "accepted", [None, "", "identity", "br, deflate", "gzip;q=0", "identity, gzip;q=0.5"]
)
def test_it_is_sent_as_it_is_where_that_is_asked(client: FlaskClient, accepted: str | None):
    headers = {} if accepted is None else {"Accept-Encoding": accepted}

    answer = client.post("/v1/classify", json=LARGE, headers=headers)

    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" in answer.vary  # a cache must not give it to others
    assert len(answer.get_json()["data"]) == 40


def test_a_small_answer_is_never_encoded(client: FlaskClient):
    answer = client.post("/v1/classify", json=SMALL, headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" not in answer.vary
    assert answer.get_json()["data"][0]["index"] == 0


def test_a_replay_is_encoded_as_the_second_call_asks(client: FlaskClient):
    key = {"Idempotency-Key": "a"}
    first = client.post("/v1/classify", json=LARGE, headers={**key, "Accept-Encoding": "gzip"})

    second = client.post("/v1/classify", json=LARGE, headers=key)

    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Content-Encoding" not in second.headers
    assert second.data == gzip.decompress(first.data)


def test_a_download_is_sent_as_it_is_stored(client: FlaskClient):
    rows = b"".join(b'{"text": "row %d"}\n' % number for number in range(2000))
    assert len(rows) > MIN_BYTES
    form = {"purpose": "batch", "file": (io.BytesIO(rows), "rows.jsonl")}
    file = client.post("/v1/files", data=form, content_type="multipart/form-data").get_json()
    path = f"/v1/files/{file['id']}/content"

    whole = client.get(path, headers={"Accept-Encoding": "gzip"})
    part = client.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=10-"})

    assert (whole.data, part.data) == (rows, rows[10:])
    for answer in (whole, part):
        assert "Content-Encoding" not in answer.headers
        assert not answer.get_etag()[1]


def test_an_event_stream_is_never_encoded(client: FlaskClient):
    job = client.post("/v1/classify", json=LARGE, headers={"Prefer": "respond-async"}).get_json()

    answer = client.get(f"/v1/jobs/{job['id']}/events", headers={"Accept-Encoding": "gzip"})

    assert answer.mimetype == "text/event-stream"
    assert "Content-Encoding" not in answer.headers
    assert b"event:" in answer.data


def test_a_strong_etag_becomes_a_weak_one(world: World):
    @world.app.get("/tagged")
    def tagged() -> Any:
        response = world.app.response_class(
            json.dumps("x" * MIN_BYTES), mimetype="application/json"
        )
        response.set_etag("a")
        return response

    client = world.app.test_client()

    assert client.get("/tagged").get_etag() == ("a", False)
    encoded = client.get("/tagged", headers={"Accept-Encoding": "gzip"})
    assert encoded.get_etag() == ("a", True)
