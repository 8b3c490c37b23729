from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.body_stream import LargeBody
from shared.errors import BodyTooLarge, InvalidRequest


class Dribble(io.RawIOBase):
    """A connection that gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 3) if size >= 0 else 3)


def a_body(data: bytes, **how: object) -> LargeBody:
    return LargeBody(Dribble(data), **{"length": len(data), "max_bytes": 1000, **how})


def whole(body: LargeBody, size: int = 7) -> bytes:
    return b"".join(iter(lambda: body.read(size), b""))


@given(st.binary(max_size=200), st.lists(st.integers(0, 250), max_size=4), st.integers(1, 50))
def test_what_was_looked_at_is_read_again(data: bytes, looks: list[int], size: int):
    body = a_body(data)

    for look in looks:
        assert body.peek(look) == data[:look]

    assert whole(body, size) == data
    assert body.sha256 == hashlib.sha256(data).digest()


def test_a_body_of_the_allowed_size_is_read():
    assert len(whole(a_body(b"x" * 1000))) == 1000


def test_more_is_refused_by_its_announced_length_before_it_is_read():
    stream = io.BytesIO(b"x" * 1001)

    with pytest.raises(BodyTooLarge, match="at most 1000 bytes"):
        LargeBody(stream, length=1001, max_bytes=1000).peek(8)

    assert stream.tell() == 0


def test_more_than_was_announced_is_refused_when_it_is_read():
    body = a_body(b"x" * 1001, length=None)

    assert body.peek(8) == b"x" * 8
    with pytest.raises(BodyTooLarge):
        whole(body)


def test_less_than_was_announced_is_refused():
    with pytest.raises(InvalidRequest, match="ended after 3 of 5 bytes"):
        whole(a_body(b"abc", length=5))
    with pytest.raises(InvalidRequest, match="ended after 3 of 5 bytes"):
        a_body(b"abc", length=5).peek(4)


def test_the_rest_of_a_refused_body_is_read_unless_the_client_waits_to_send_it():
    begun, waiting, told = (io.BytesIO(b"x" * 100) for _ in range(3))
    LargeBody(begun, length=100, max_bytes=1000).drain()
    LargeBody(waiting, length=100, max_bytes=1000, awaits_continue=True).drain()
    body = LargeBody(told, length=100, max_bytes=1000, awaits_continue=True)
    body.peek(8)
    body.drain()

    assert (begun.tell(), waiting.tell(), told.tell()) == (100, 0, 100)
