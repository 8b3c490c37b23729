"""Bodies that were encoded on their way, and those that only say so."""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from api.app import OPERATIONS
from api.http.content_encoding import checked, decoded
from api.openapi.model import Operation
from shared.errors import BodyTooLarge, ContentEncodingNotSupported, InvalidRequest
from tests.api.conftest import World, make_world
from tests.problems import assert_problem

BODY = b'{"input": "a", "labels": ["x", "y"]}'
ENCODE: Any = {"gzip": gzip.compress, "zstd": zstd.compress}


@given(st.binary(max_size=4096), st.sampled_from(sorted(ENCODE)), st.integers(1, 3))
def test_the_body_comes_out_as_it_was(body: bytes, encoding: str, members: int):
    sent = b"".join(ENCODE[encoding](body) for _ in range(members))

    assert decoded(sent, encoding, max_bytes=members * len(body)) == members * body


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_a_plain_body_is_left_as_it_is(encoding: str | None):
    assert decoded(BODY, encoding, max_bytes=1) == BODY


@pytest.mark.parametrize(
    "encoding", ["x-gzip", "GZIP", " gzip ", "gzip, identity", "identity,gzip"]
)
def test_gzip_has_several_spellings(encoding: str):
    assert decoded(gzip.compress(BODY), encoding, max_bytes=100) == BODY


@pytest.mark.parametrize("encoding", sorted(ENCODE))
def test_a_bomb_is_refused_without_being_unpacked(encoding: str):
    bomb = ENCODE[encoding](bytes(200_000_000))

    with pytest.raises(BodyTooLarge, match="more than 1000 bytes after decoding"):
        decoded(bomb, encoding, max_bytes=1000)


@pytest.mark.parametrize("encoding", sorted(ENCODE))
@pytest.mark.parametrize("change", ["plain", "cut", "followed", "other"])
def test_a_body_that_is_not_encoded_so_is_refused(encoding: str, change: str):
    good = ENCODE[encoding](BODY)
    other = ENCODE["zstd" if encoding == "gzip" else "gzip"](BODY)
    body = {"plain": BODY, "cut": good[:-5], "followed": good + b"x" * 20, "other": other}[change]

    with pytest.raises(
        InvalidRequest, match=f"cannot be decoded as {encoding}, its Content-Encoding"
    ):
        decoded(body, encoding, max_bytes=1000)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "compress", "gzip,gzip"])
def test_other_encodings_are_refused(encoding: str):
    with pytest.raises(ContentEncodingNotSupported, match="supported are gzip and zstd"):
        decoded(BODY, encoding, max_bytes=1000)


def test_where_nothing_is_decoded_that_is_said():
    with pytest.raises(ContentEncodingNotSupported, match="send the bytes unencoded"):
        checked("gzip")


class TestCalls:
    @pytest.fixture
    def world(self) -> World:
        return make_world()

    @pytest.mark.parametrize("encoding", sorted(ENCODE))
    def test_are_answered_as_without(self, world: World, encoding: str):
        client = world.client()

        plain = client.post("/v1/classify", data=BODY)
        encoded = client.post(
            "/v1/classify", data=ENCODE[encoding](BODY), headers={"Content-Encoding": encoding}
        )

        assert encoded.status_code == 200
        assert encoded.get_json()["data"] == plain.get_json()["data"]

    @pytest.mark.parametrize(
        ("path", "supported"),
        [("/v1/classify", "gzip, zstd"), ("/v1/batches", "gzip, zstd"), ("/v1/files", "identity")],
    )
    def test_with_another_encoding_are_415_and_name_those_decoded(
        self, world: World, path: str, supported: str
    ):
        answer = world.client().post(
            path, data=zlib.compress(BODY), headers={"Content-Encoding": "deflate"}
        )

        assert answer.status_code == 415
        assert answer.headers["Accept-Encoding"] == supported

    @pytest.mark.parametrize(
        "operation",
        [each for each in OPERATIONS if each.body is not None or each.uploads],
        ids=lambda each: each.name,
    )
    def test_of_every_path_name_what_the_path_decodes(self, world: World, operation: Operation):
        path = re.sub(r"\{\w+\}", "x", operation.path)

        def sent(data: bytes, encoding: str) -> TestResponse:
            headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
            return world.client().open(
                path, method=operation.method.upper(), data=data, headers=headers
            )

        refused = sent(BODY, "br")
        assert refused.status_code == 415
        decodes = refused.headers["Accept-Encoding"] == "gzip, zstd"
        for encoding, encode in ENCODE.items():
            assert (sent(encode(b"{}"), encoding).status_code != 415) == decodes

    def test_that_lie_about_their_encoding_are_refused_for_that(self, world: World):
        answer = world.client().post(
            "/v1/classify", data=BODY, headers={"Content-Encoding": "gzip"}
        )

        assert_problem(answer, 422, "VALIDATION_ERROR", field="body", says="Content-Encoding")
