from __future__ import annotations

import io
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas import body
from shared.errors import BodyTooLarge, InvalidRequest


class Counting(io.BytesIO):
    """A stream that knows how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


class TestReading:
    @pytest.mark.parametrize("length", [1000, None])
    def test_a_body_of_the_limit_is_read_whole(self, length: int | None):
        data = b"x" * 1000

        assert body.read(io.BytesIO(data), length=length, max_bytes=1000) == data

    @pytest.mark.parametrize("length", [1001, None])
    def test_a_byte_more_is_refused(self, length: int | None):
        with pytest.raises(BodyTooLarge, match="at most 1000 bytes"):
            body.read(io.BytesIO(b"x" * 1001), length=length, max_bytes=1000)

    def test_an_announced_length_is_refused_before_a_waiting_client_sends(self):
        stream = Counting(b"x" * 1001)

        with pytest.raises(BodyTooLarge):
            body.read(stream, length=1001, max_bytes=1000, awaits_continue=True)

        assert stream.taken == 0

    def test_what_is_too_large_is_read_on_for_a_bounded_time_only(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(body, "_DRAIN_BYTES", 200_000)
        stream = Counting(b"x" * 1_000_000)

        with pytest.raises(BodyTooLarge):
            body.read(stream, length=None, max_bytes=1000)

        assert stream.taken < 400_000

    def test_a_body_that_ends_early_is_refused(self):
        with pytest.raises(InvalidRequest, match="ended after 3 of 5 bytes"):
            body.read(io.BytesIO(b"abc"), length=5, max_bytes=10)


class TestParsing:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "body: is empty"),
            (b" \n\t", "body: is empty"),
            (b"\xff{}", "body: is not UTF-8 at byte 0"),
            (
                b"\x1f\x8b\x08\xff",
                "not UTF-8 at byte 1; if it is gzip, send Content-Encoding: gzip",
            ),
            (b'{"a": "\xed\xa0\x80"}', "body: is not UTF-8 at byte 7"),
            (b'{"a": 1} x', "is not JSON at column 10"),
            (b"{'a': 1}", "is not JSON at column 2"),
            (b'{"a":\n tru}', "line 2, column 2"),
            (b'{"a": NaN}', "NaN is not valid JSON"),
            (b"[-Infinity]", "-Infinity is not valid JSON"),
            (b"[Infinity]", "Infinity is not valid JSON"),
            (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
            (b'{"\\ud800": 1, "\\ud800": 3}', "occurs twice"),
            (b'{"input": ["a", "\\ud800"]}', r"input\[1\]: has half of a surrogate"),
            (b'{"input": [{"text": "x\\uDC00y"}]}', r"input\[0\].text: has half"),
            (b'{"a": {"\\ud83d": 1}}', "has half of a surrogate"),
            (b'{"labels": {"y": ["a", "\\ud800"]}}', r"labels\[y\]\[1\]: has half"),
            (b'{"a": {"b": "\\ud800"}}', r"a\.b: has half"),
            (b'"\\ud800"', "body: has half"),
            (b"[" * 100_000, "nested too deeply"),
            (b'{"a":' * 100_000, "nested too deeply"),
            (b"1" * 5000, "too many digits"),
        ],
    )
    def test_refuses_with_the_place(self, data: bytes, says: str):
        with pytest.raises(InvalidRequest, match=says) as caught:
            body.parse(data)

        caught.value.detail.encode()  # an error can itself be sent

    def test_leaves_the_strings_of_one_field_to_its_schema(self):
        data = b'{"input": ["a", "\\ud800"], "labels": ["\\ud800"]}'

        with pytest.raises(InvalidRequest, match=r"labels\[0\]: has half"):
            body.parse(data, schema_checks="input")

    @pytest.mark.parametrize(
        ("data", "value"),
        [
            (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
            (rb'"\ud83d\ude00"', "😀"),
            (rb'"\\ud800"', r"\ud800"),
            (b"1e999", float("inf")),
        ],
    )
    def test_reads(self, data: bytes, value: object):
        assert body.parse(data) == value

    def test_a_key_that_stands_twice_is_found_in_time(self):
        many = b",".join(b'"%d":1' % number for number in range(100_000))
        began = time.monotonic()

        with pytest.raises(InvalidRequest, match="'99999' occurs twice"):
            body.parse(b"{" + many + b',"99999":1}')

        assert time.monotonic() - began < 5

    @pytest.mark.slow
    @given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x)))
    def test_reads_what_json_writes(self, value: object):
        assert body.parse(json.dumps(value).encode()) == value

    @given(st.binary(max_size=40))
    def test_any_bytes_are_read_or_refused(self, data: bytes):
        with suppress(InvalidRequest):
            body.parse(data)


def test_no_number_leaves_that_is_no_json():
    assert body.dump({"a": float("nan"), "b": 0.5}) == b'{"a":null,"b":0.5}'
