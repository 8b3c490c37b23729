"""What only S3 can get wrong: servers that are away, silent, forgetful, or lack something."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest

from shared import object_keys, service_clock
from shared.adapters.directory.object_store import DirectoryStore
from shared.adapters.s3.object_store import S3Store
from shared.adapters.store_factory import open_store
from shared.errors import (
    ConfigurationError,
    ObjectMissing,
    PreconditionFailed,
    StoreFull,
    StoreUnavailable,
)
from tests.contract.conftest import BUCKET
from tests.servers import HOST, free_port, rclone_server

pytestmark = pytest.mark.integration

MIB = 1 << 20
Make = Callable[..., S3Store]


def test_a_server_that_ignores_conditions_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    with rclone_server(tmp_path, access_key="pigeon", secret_key="coo-coo") as server:
        store = open_store(
            "s3://bucket/prefix", endpoint=server.url, access_key="pigeon", secret_key="coo-coo"
        )

        with pytest.raises(ConfigurationError) as refusal:
            store.probe()

        said = str(refusal.value)
        for part in (server.url, "If-None-Match and If-Match", "AWS S3", "SeaweedFS 4.18"):
            assert part in said
        assert list(store.list("")) == []

        stranger = open_store(
            "s3://bucket", endpoint=server.url, access_key="stranger", secret_key="coo"
        )
        with pytest.raises(ConfigurationError, match="denies access"):
            stranger.probe()
        with pytest.raises(StoreUnavailable):
            stranger.get("a")


def test_requests_and_urls_are_signed_with_the_services_time(
    s3_store: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose clock is 20 minutes off would be refused by AWS, and so would its URLs."""
    true_s = time.time() - 1200
    monkeypatch.setattr(service_clock, "now", lambda: true_s)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(true_s))
    store = s3_store()
    sent = []
    store._calls._client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.append(request.headers["X-Amz-Date"])
    )

    store.put("a", b"x")
    url = store.presign_put("a", expires_s=60)

    assert sent == [stamp.encode()]
    assert url is not None
    assert f"X-Amz-Date={stamp}" in url
    assert stamp[:8] + "%2Fus-east-1" in url


@pytest.mark.parametrize("size", [5, 6 * MIB], ids=["whole", "multipart"])
@pytest.mark.parametrize(
    ("name", "said", "found"),
    [
        (object_keys.job("a", "j"), None, "application/json"),
        (object_keys.part_rows("a", "j", 1), None, "application/jsonl"),
        (object_keys.weights("a", "c", "f"), None, "application/octet-stream"),
        (object_keys.plot("a", "j", "confusion.svg"), None, "image/svg+xml"),
        (object_keys.file_content("a", "file-1"), "text/csv", "text/csv"),
    ],
)
def test_objects_have_the_media_type_of_their_kind(
    s3_store: Make, s3_endpoint: str, name: str, said: str | None, found: str, size: int
):
    store = s3_store(part_bytes=5 * MIB)
    access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
    s3 = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", **access)

    store.put(name, io.BytesIO(bytes(size)), media_type=said)

    where = {"Bucket": BUCKET, "Key": store._prefix + name}
    assert s3.head_object(**where)["ContentType"] == found
    with urlopen(s3.generate_presigned_url("get_object", where), timeout=10) as answer:
        assert answer.headers["Content-Type"] == found
        assert len(answer.read()) == size


@pytest.mark.parametrize(
    ("status", "code"),
    [(507, "XMinioStorageFull"), (507, "Whatever"), (403, "QuotaExceeded")],
)
def test_a_server_without_room_is_full_and_asked_once(s3_store: Make, status: int, code: str):
    asked = []

    class Full(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            body = f"<Error><Code>{code}</Code><Message>no room</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Full) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = s3_store(endpoint=f"http://{HOST}:{server.server_port}")

        with pytest.raises(StoreFull, match=f"is full: {code}"):
            store.put("a", b"x")

        server.shutdown()
    assert len(asked) == 1


def test_a_bucket_that_is_not_there_is_a_wrong_setting(s3_store: Make) -> None:
    with pytest.raises(ConfigurationError, match="no such bucket"):
        s3_store(bucket="nowhere").probe()


def test_a_dead_endpoint_is_an_outage_in_bounded_time(s3_store: Make) -> None:
    store = s3_store(endpoint=f"http://{HOST}:{free_port()}", timeout_s=0.5)

    assert_unavailable(store, bound_s=5)


def test_a_silent_endpoint_is_an_outage_in_bounded_time(s3_store: Make) -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        store = s3_store(endpoint=f"http://{HOST}:{listener.getsockname()[1]}", timeout_s=0.3)

        assert_unavailable(store, bound_s=5)


def assert_unavailable(store: S3Store, *, bound_s: float) -> None:
    began_at = time.monotonic()
    for call in (
        store.probe,
        lambda: store.get("a"),
        lambda: store.put("a", b"x", if_absent=True),
        lambda: list(store.list("")),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    # Four calls; the bound is loose for a busy machine, and far below botocore's own minute.
    assert time.monotonic() - began_at < 4 * bound_s


@pytest.mark.parametrize(
    ("size", "lost_request"), [(1, b"if-none-match: *"), (9 * MIB, b"<CompleteMultipartUpload")]
)
def test_a_conditional_write_whose_answer_is_lost_is_not_its_own_conflict(
    s3_store: Make, s3_endpoint: str, size: int, lost_request: bytes
) -> None:
    with Meddler(s3_endpoint).running() as meddler:
        store = s3_store(endpoint=meddler.url, timeout_s=20)
        meddler.lose_answer_to = lost_request

        etag = store.put("a", b"x" * size, if_absent=True)

        assert meddler.lost == 1
        assert s3_store().get("a").etag == etag
        with pytest.raises(PreconditionFailed):
            store.put("a", b"x" * size, if_absent=True)


def test_a_conditional_write_that_lost_to_the_same_bytes_has_lost(s3_store: Make) -> None:
    s3_store().put("a", b"same", if_absent=True)

    with pytest.raises(PreconditionFailed):
        s3_store().put("a", b"same", if_absent=True)


def test_a_stream_goes_on_past_a_broken_connection(s3_store: Make, s3_endpoint: str) -> None:
    data = bytes(range(256)) * (4 * MIB // 256)
    s3_store().put("a", data)
    with Meddler(s3_endpoint).running() as meddler:
        store = s3_store(endpoint=meddler.url, timeout_s=20)
        meddler.cut_after_bytes = MIB + 7

        with store.open("a") as stream:
            read = stream.read()

        assert meddler.lost == 1
        assert read == data


def test_of_a_part_nothing_else_is_sent(s3_store: Make, s3_endpoint: str) -> None:
    data = bytes(range(256)) * (4 * MIB // 256)
    s3_store().put("a", data)
    with Meddler(s3_endpoint).running() as meddler:
        store = s3_store(endpoint=meddler.url, timeout_s=20)

        with store.open("a", start=MIB, end=MIB + 1000) as stream:
            assert stream.read() == data[MIB : MIB + 1000]

        assert 1000 < meddler.answered_bytes < 3000


def test_a_part_goes_on_past_a_broken_connection(s3_store: Make, s3_endpoint: str) -> None:
    data = bytes(range(256)) * (4 * MIB // 256)
    s3_store().put("a", data)
    with Meddler(s3_endpoint).running() as meddler:
        store = s3_store(endpoint=meddler.url, timeout_s=20)
        meddler.cut_after_bytes = MIB + 7

        with store.open("a", start=11, end=3 * MIB) as stream:
            read = stream.read()

        assert meddler.lost == 1
        assert read == data[11 : 3 * MIB]


def test_a_stream_never_mixes_two_versions(s3_store: Make, s3_endpoint: str) -> None:
    s3_store().put("a", b"1" * 4 * MIB)
    with Meddler(s3_endpoint).running() as meddler:
        store = s3_store(endpoint=meddler.url, timeout_s=20)
        meddler.cut_after_bytes = 2 * MIB

        with store.open("a") as stream:
            stream.read(10)
            s3_store().put("a", b"2" * 4 * MIB)

            with pytest.raises(StoreUnavailable, match="replaced"):
                stream.read()


def test_a_refused_or_broken_upload_is_aborted(s3_store: Make, s3_endpoint: str) -> None:
    store = s3_store()
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
    )

    class Broken:
        left = 2

        def read(self, size: int) -> bytes:
            self.left -= 1
            if not self.left:
                raise ConnectionResetError
            return bytes(size)

    with pytest.raises(ConnectionResetError):
        store.put("a", Broken())  # type: ignore[arg-type]

    assert client.list_multipart_uploads(Bucket="pigeonhole").get("Uploads", []) == []


def test_prefixes_are_apart(s3_store: Make) -> None:
    store, other = s3_store(), s3_store(prefix="/an other/")
    store.put("a", b"x")

    other.put("a", b"y")

    assert store.get("a").data == b"x"
    assert list(other.list("")) == ["a"]
    other.delete("a")
    with pytest.raises(ObjectMissing):
        other.get("a")


def test_importing_the_adapter_does_not_import_boto3() -> None:
    code = "import sys, shared.adapters.store_factory; sys.exit('boto3' in sys.modules)"

    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=30, cwd=Path(__file__).parents[2]
    )


def test_a_url_names_its_store(tmp_path: Path) -> None:
    store = open_store((tmp_path / "with space").as_uri())

    assert isinstance(store, DirectoryStore)
    assert (tmp_path / "with space").is_dir()
    assert isinstance(
        open_store("s3://bucket/some/prefix", region="eu-central-1"),
        S3Store,
    )


@pytest.mark.parametrize(
    "url",
    ["", "/data", "file://data", "file:///", "file:data", "s3://", "s3:///p", "gs://b", "C:\\"],
)
def test_a_url_of_another_kind_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"file:///absolute/path or s3://bucket/prefix"):
        open_store(url)


@pytest.mark.parametrize(
    "settings", [{"endpoint": "no url"}, {"prefix": "p" * 124}, {"endpoint": "ftp:/x"}]
)
def test_settings_that_do_not_fit_stop_the_start(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        S3Store(**{"bucket": "b", "access_key": "x", "secret_key": "y", **settings})


class Meddler:
    """A TCP proxy before a server that breaks one connection when it is told to."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self.lose_answer_to: bytes | None = None
        self.cut_after_bytes: int | None = None
        self.lost = 0
        self.answered_bytes = 0

    @contextmanager
    def running(self) -> Iterator[Meddler]:
        thread = threading.Thread(target=self._accept)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join(10)

    def _accept(self) -> None:
        pairs = []
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream, timeout=30)
                doomed = threading.Event()
                for target, arguments in (
                    (self._ask, (client, server, doomed)),
                    (self._answer, (server, client, doomed)),
                ):
                    threading.Thread(target=target, args=arguments, daemon=True).start()
                pairs += [client, server]
        for connection in pairs:
            connection.close()

    def _ask(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.lose_answer_to and self.lose_answer_to.lower() in data.lower():
                    self.lose_answer_to = None
                    doomed.set()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(
        self, server: socket.socket, client: socket.socket, doomed: threading.Event
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := server.recv(1 << 16):
                passed += len(data)
                self.answered_bytes += len(data)
                cut = self.cut_after_bytes is not None and passed > self.cut_after_bytes
                answered = not data.startswith(b"HTTP/1.1 100 ")
                if cut or (doomed.is_set() and answered):
                    self.cut_after_bytes = None
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
