"""The contract of `Buckets`: a fake, and a real S3 server."""

from __future__ import annotations

import io
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import pytest

from shared.adapters.bucket_allowlist import BucketAllowlist
from shared.adapters.s3.buckets import S3Buckets, buckets_of
from shared.adapters.s3.calls import S3Calls
from shared.errors import ConfigurationError, InvalidRequest, StoreUnavailable
from shared.ports import Buckets
from shared.settings import Settings
from tests.contract.test_s3_store import Meddler
from tests.fakes import FakeBuckets
from tests.servers import HOST, free_port

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Buckets; `root` is what may be read below, `out` what may be written below."""

    buckets: Buckets
    root: str
    out: str
    put: Callable[[str, bytes], None]
    get: Callable[[str], bytes]


@pytest.fixture(scope="module")
def client(s3_endpoint: str) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )
    for bucket in ("inbox", "inbox-2"):
        client.create_bucket(Bucket=bucket)
    return client


def s3_bench(client: Any, endpoint: str, *, timeout_s: float = 5.0) -> Bench:
    prefix = uuid.uuid4().hex

    def parted(url: str) -> dict[str, str]:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": key}

    buckets = S3Buckets(
        inputs=BucketAllowlist.of(f"s3://inbox/{prefix}/rows/", field="input_url", setting="READ"),
        outputs=BucketAllowlist.of(f"s3://inbox/{prefix}/out", field="output_url", setting="WRITE"),
        calls=S3Calls(
            endpoint=endpoint,
            region=None,
            access_key="id",
            secret_key="secret",
            timeout_s=timeout_s,
            connections=4,
        ),
    )
    return Bench(
        buckets=buckets,
        root=f"s3://inbox/{prefix}/rows/",
        out=f"s3://inbox/{prefix}/out/",
        put=lambda url, data: client.put_object(**parted(url), Body=data),
        get=lambda url: bytes(client.get_object(**parted(url))["Body"].read()),
    )


@pytest.fixture(params=["fake", pytest.param("s3", marks=pytest.mark.integration)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each implementation in turn."""
    if request.param == "s3":
        endpoint: str = request.getfixturevalue("s3_endpoint")
        return s3_bench(request.getfixturevalue("client"), endpoint)
    buckets = FakeBuckets()
    return Bench(
        buckets=buckets,
        root="s3://inbox/rows/",
        out="s3://outbox/results/",
        put=buckets.objects.__setitem__,
        get=buckets.objects.__getitem__,
    )


class TestReading:
    def test_an_object_is_looked_at_and_read(self, bench: Bench) -> None:
        url = f"{bench.root}a b/größe+1%41.csv"
        bench.put(url, b"one\ntwo\n")

        found = bench.buckets.find(url)

        assert (found.url, found.bytes) == (url, 8)
        with bench.buckets.open(url, etag=found.etag) as stream:
            assert stream.readline() == b"one\n"
            assert stream.read() == b"two\n"
            assert not stream.seekable()

    def test_an_object_that_was_changed_is_refused(self, bench: Bench) -> None:
        url = f"{bench.root}a"
        bench.put(url, b"one")
        etag = bench.buckets.find(url).etag
        bench.put(url, b"two")

        with pytest.raises(InvalidRequest, match=r"^input_url: was changed") as refusal:
            bench.buckets.open(url, etag=etag)

        assert refusal.value.fields[0].field == "input_url"
        with bench.buckets.open(url) as stream:
            assert stream.read() == b"two"

    def test_an_object_that_is_not_there_is_refused(self, bench: Bench) -> None:
        for call in (bench.buckets.find, bench.buckets.open):
            with pytest.raises(InvalidRequest, match="does not exist") as refusal:
                call(f"{bench.root}none")
            assert refusal.value.fields[0].field == "input_url"

    def test_one_object_is_not_all_below_a_prefix(self, bench: Bench) -> None:
        for call in (bench.buckets.find, bench.buckets.open):
            with pytest.raises(InvalidRequest, match="one object"):
                call(bench.root)


class TestListing:
    def test_objects_come_in_byte_order_as_they_are_found(self, bench: Bench) -> None:
        names = ["a/z", "a-b", "B", "é", "a", "ab/c/d"]
        for name in names:
            bench.put(f"{bench.root}in/{name}", name.encode())
        bench.put(f"{bench.root}in/folder/", b"")
        bench.put(f"{bench.root}in2/other", b"")

        found = list(bench.buckets.list(f"{bench.root}in/"))

        assert [each.url for each in found] == [
            f"{bench.root}in/{name}" for name in sorted(names, key=str.encode)
        ]
        assert found == [bench.buckets.find(each.url) for each in found]
        assert [each.bytes for each in islice(found, 2)] == [1, 1]

    def test_below_an_empty_prefix_there_is_nothing(self, bench: Bench) -> None:
        assert list(bench.buckets.list(f"{bench.root}none/")) == []


class TestWriting:
    @pytest.mark.parametrize("size", [0, 10, 8 * MIB, 17 * MIB + 3])
    def test_a_stream_is_written_whole_and_replaces(self, bench: Bench, size: int) -> None:
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        bench.put(f"{bench.out}x", b"old")

        bench.buckets.put(f"{bench.out}x", io.BytesIO(data))

        assert bench.get(f"{bench.out}x") == data

    def test_a_stream_that_breaks_leaves_what_was_there(self, bench: Bench) -> None:
        bench.put(f"{bench.out}x", b"old")

        with pytest.raises(ConnectionResetError):
            bench.buckets.put(f"{bench.out}x", _Breaking())  # type: ignore[arg-type]

        assert bench.get(f"{bench.out}x") == b"old"


class TestWhatIsAllowed:
    def test_reading_and_writing_are_allowed_apart(self, bench: Bench) -> None:
        bench.buckets.check(f"{bench.root}a", write=False)
        bench.buckets.check(bench.root, write=False)
        bench.buckets.check(f"{bench.out}a", write=True)
        with pytest.raises(InvalidRequest, match=r"^output_url: .*the operator can add it to"):
            bench.buckets.check(f"{bench.root}a", write=True)
        with pytest.raises(InvalidRequest, match=r"^input_url: .*the operator can add it to"):
            bench.buckets.check(f"{bench.out}a", write=False)

    def test_every_call_asks(self, bench: Bench) -> None:
        outside = bench.root.removesuffix("/") + "2/a"
        bench.put(outside, b"secret")
        for call in (
            lambda: bench.buckets.find(outside),
            lambda: bench.buckets.open(outside),
            lambda: list(bench.buckets.list(f"{outside}/")),
            lambda: bench.buckets.put(outside, io.BytesIO(b"x")),
        ):
            with pytest.raises(InvalidRequest, match="outside the allowed S3 locations"):
                call()
        assert bench.get(outside) == b"secret"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("s3://allowed/pre/x", True),
        ("s3://allowed/pre/x/", True),
        ("s3://allowed/pre/", True),
        ("s3://allowed/pre/.hidden", True),
        ("s3://whole/x", True),
        ("s3://whole/", True),
        ("s3://allowed/pre", False),
        ("s3://allowed/prefix2/x", False),
        ("s3://allowed/prefix2/", False),
        ("s3://allowed/", False),
        ("s3://allowed", False),
        ("s3://allowed2/pre/x", False),
        ("s3://allow/pre/x", False),
        ("s3://ALLOWED/pre/x", False),
        ("s3://allowed/PRE/x", False),
        ("s3://allowed/pre/../secret", False),
        ("s3://allowed/pre/..", False),
        ("s3://allowed/pre/./x", False),
        ("s3://allowed/pre//x", False),
        ("s3://allowed//pre/x", False),
        ("s3:///allowed/pre/x", False),
        ("s3://allowed/pre%2F..%2Fx", False),
        ("s3://allowed/pre/\n", False),
        ("s3://allowed/pre/\ud800", False),
        ("s3://allowed/pre/" + "x" * 900, False),
        ("s3://user@allowed/pre/x", False),
        ("s3://allowed:80/pre/x", False),
        ("s3://arn:aws:s3:::allowed/pre/x", False),
        ("S3://allowed/pre/x", False),
        ("http://allowed/pre/x", False),
        ("file:///allowed/pre/x", False),
        ("/allowed/pre/x", False),
        ("whole", False),
        ("s3://", False),
        ("s3:///", False),
        ("", False),
    ],
)
def test_only_what_lies_below_an_allowed_place_is_found(url: str, allowed: bool) -> None:
    places = BucketAllowlist.of("s3://allowed/pre, s3://whole", field="input_url", setting="X")

    if allowed:
        assert places.find(url).url == url
    else:
        with pytest.raises(InvalidRequest, match=r"^input_url: "):
            places.find(url)


@pytest.mark.parametrize("said", ["inbox", "s3://", "s3://b/../x", "s3://bucket//x", "http://b/x"])
def test_a_place_that_is_no_address_stops_the_start(said: str) -> None:
    with pytest.raises(ConfigurationError, match="PIGEONHOLE_S3_INPUTS"):
        buckets_of(Settings(s3_inputs=f"s3://good/x,{said}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "place", "apart"),
    [
        ("s3://bucket/ours", "s3://bucket/rows/", True),
        ("s3://bucket/ours", "s3://bucket/ours2/", True),
        ("s3://bucket/ours", "s3://bucket2/ours/", True),
        ("s3://bucket/ours", "s3://bucket/", False),
        ("s3://bucket/ours", "s3://bucket/ours/jobs/", False),
        ("s3://bucket/ours/", "s3://bucket/ours", False),
        ("s3://bucket", "s3://bucket/rows/", False),
    ],
)
@pytest.mark.parametrize("setting", ["s3_inputs", "s3_outputs"])
def test_our_own_store_is_never_allowed(setting: str, store: str, place: str, apart: bool) -> None:
    settings = Settings(
        object_store=store, s3_access_key="x", s3_secret_key="y", **{setting: place}
    )

    if apart:
        buckets_of(settings)
    else:
        with pytest.raises(ConfigurationError, match="own object store"):
            buckets_of(settings)


def test_without_a_setting_nothing_is_allowed(tmp_path: Path) -> None:
    buckets = buckets_of(Settings(data_dir=tmp_path))

    with pytest.raises(InvalidRequest, match="the operator can add it to PIGEONHOLE_S3_INPUTS"):
        buckets.find("s3://bucket/key")
    with pytest.raises(InvalidRequest, match="the operator can add it to PIGEONHOLE_S3_OUTPUTS"):
        buckets.put("s3://bucket/key", io.BytesIO())


def test_the_settings_of_the_store_hold_for_buckets_too(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        s3_endpoint=f"http://{HOST}:{free_port()}",
        s3_access_key="x",
        s3_secret_key="y",
        s3_inputs="s3://bucket/",
        s3_outputs="s3://bucket/",
        store_timeout_s=0.3,
    )
    buckets = buckets_of(settings)

    for call in (
        lambda: buckets.find("s3://bucket/a"),
        lambda: buckets.open("s3://bucket/a"),
        lambda: list(buckets.list("s3://bucket/a/")),
        lambda: buckets.put("s3://bucket/a", io.BytesIO(b"x")),
    ):
        with pytest.raises(StoreUnavailable):
            call()


@pytest.mark.integration
class TestOnS3:
    @pytest.fixture
    def away(self, client: Any, s3_endpoint: str) -> Iterator[tuple[Meddler, Bench]]:
        with Meddler(s3_endpoint).running() as meddler:
            yield meddler, s3_bench(client, meddler.url, timeout_s=20)

    def test_a_stream_goes_on_past_a_broken_connection(self, away: tuple[Meddler, Bench]) -> None:
        meddler, bench = away
        data = bytes(range(256)) * (4 * MIB // 256)
        bench.put(f"{bench.root}a", data)
        meddler.cut_after_bytes = MIB + 7

        with bench.buckets.open(f"{bench.root}a") as stream:
            read = stream.read()

        assert meddler.lost == 1
        assert read == data

    def test_a_stream_never_mixes_two_versions(self, away: tuple[Meddler, Bench]) -> None:
        meddler, bench = away
        bench.put(f"{bench.root}a", b"1" * 4 * MIB)
        meddler.cut_after_bytes = 2 * MIB

        with bench.buckets.open(f"{bench.root}a") as stream:
            stream.read(10)
            bench.put(f"{bench.root}a", b"2" * 4 * MIB)

            with pytest.raises(StoreUnavailable, match="replaced"):
                stream.read()

    def test_a_bucket_that_is_not_there_is_the_callers_fault(
        self, client: Any, s3_endpoint: str
    ) -> None:
        settings = Settings(
            s3_endpoint=s3_endpoint,
            s3_access_key="id",
            s3_secret_key="secret",
            s3_inputs="s3://nowhere/",
            s3_outputs="s3://nowhere/",
        )
        buckets = buckets_of(settings)

        for call in (
            lambda: buckets.find("s3://nowhere/a"),
            lambda: list(buckets.list("s3://nowhere/a/")),
            lambda: buckets.put("s3://nowhere/a", io.BytesIO(b"x")),
            lambda: buckets.put("s3://nowhere/a", io.BytesIO(bytes(9 * MIB))),
        ):
            with pytest.raises(InvalidRequest, match="ask the operator"):
                call()

    @pytest.mark.parametrize("size", [5, 9 * MIB], ids=["whole", "multipart"])
    def test_an_object_has_the_media_type_that_is_given_or_that_of_its_name(
        self, client: Any, s3_endpoint: str, size: int
    ) -> None:
        bench = s3_bench(client, s3_endpoint)

        kind = "application/vnd.apache.parquet"
        bench.buckets.put(f"{bench.out}tagged.parquet", io.BytesIO(bytes(size)))
        bench.buckets.put(f"{bench.out}tagged", io.BytesIO(bytes(size)), media_type=kind)

        for name in ("tagged.parquet", "tagged"):
            key = f"{bench.out}{name}".removeprefix("s3://inbox/")
            found = client.head_object(Bucket="inbox", Key=key)
            assert (found["ContentType"], found["ContentLength"]) == (kind, size)

    def test_a_broken_upload_is_aborted(self, client: Any, s3_endpoint: str) -> None:
        bench = s3_bench(client, s3_endpoint)

        with pytest.raises(ConnectionResetError):
            bench.buckets.put(f"{bench.out}x", _Breaking())  # type: ignore[arg-type]

        assert client.list_multipart_uploads(Bucket="inbox").get("Uploads", []) == []

    def test_streams_pass_in_bounded_memory(self, client: Any, s3_endpoint: str) -> None:
        bench, read = s3_bench(client, s3_endpoint), 0
        bench.put(f"{bench.root}big", bytes(80 * MIB))
        tracemalloc.start()
        try:
            with bench.buckets.open(f"{bench.root}big") as stream:
                bench.buckets.put(f"{bench.out}big", stream)
            with bench.buckets.open(f"{bench.root}big") as stream:
                while chunk := stream.read(MIB):
                    read += len(chunk)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert read == 80 * MIB
        assert peak_bytes < 40 * MIB


class _Breaking:
    """A stream that breaks after nine mebibytes."""

    left = 9

    def read(self, size: int) -> bytes:
        self.left -= 1
        if not self.left:
            raise ConnectionResetError
        return bytes(min(size, MIB))
