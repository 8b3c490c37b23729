"""Servers behind TLS with a CA of their own, users of Redis, and credentials of a role."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
import redis

from shared.adapters.celery.broker import CeleryDoorbell
from shared.adapters.redis.client import connect
from shared.adapters.redis.ledger import RedisLedger
from shared.adapters.s3.object_store import S3Store
from shared.adapters.store_factory import open_store
from shared.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from tests.servers import HOST, Proxy, free_port, moto_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, so that it is its own CA, with its key."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext"
    made = ["-keyout", str(path), "-out", str(path)]
    alternative = [f"subjectAltName=IP:{HOST}"]
    subprocess.run([*command.split(), *alternative, *made], check=True, capture_output=True)
    certificate_only = path.with_name("ca.pem")
    certificate_only.write_text(path.read_text().partition("-----END PRIVATE KEY-----")[2])
    return path


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(certificate)
    return found


def test_redis_behind_tls_is_reached_by_a_user_and_only_with_its_ca(
    redis_client: redis.Redis, context: ssl.SSLContext, certificate: Path
):
    port = redis_client.connection_pool.connection_kwargs["port"]
    redis_client.execute_command(
        "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-@admin", "-@dangerous",
        "+info",
    )  # fmt: skip
    url = f"rediss://app:secret@{HOST}:{Proxy(port, tls=context).port}/0"
    trusted = f"{url}?ssl_ca_certs={certificate.with_name('ca.pem')}"

    RedisLedger(connect(trusted, timeout_s=5)).report("worker", "w", b"{}", ttl_s=5)
    CeleryDoorbell(trusted, timeout_s=5).ring("cpu.standard.tiny")

    assert redis_client.llen("cpu.standard.tiny") == 1
    for attempt in (
        lambda: RedisLedger(connect(url, timeout_s=2)).queues(),
        lambda: CeleryDoorbell(url, timeout_s=2).ring("cpu.standard.tiny"),
    ):
        with pytest.raises(BrokerUnavailable):
            attempt()
    redis_client.execute_command("ACL", "DELUSER", "app")


class Role(BaseHTTPRequestHandler):
    """Gives the credentials of a role, as the agent of a container does."""

    def do_GET(self) -> None:
        credentials = {
            "AccessKeyId": "ASIAROLE",
            "SecretAccessKey": "secret",
            "Token": "token-of-the-role",
            "Expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }
        body = json.dumps(credentials).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment whose only credentials are those of a role."""
    with ThreadingHTTPServer((HOST, 0), Role) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{HOST}:{server.server_port}/"
        )
        yield
        server.shutdown()


def test_a_bucket_behind_tls_is_used_with_the_rights_of_a_role_and_only_with_its_ca(
    role: None, context: ssl.SSLContext, certificate: Path
):
    with moto_server() as server:
        boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        ).create_bucket(Bucket="bucket")
        endpoint = f"https://{HOST}:{Proxy(server.port, tls=context).port}"
        store = open_store(
            "s3://bucket/prefix", endpoint=endpoint, ca=str(certificate.with_name("ca.pem"))
        )
        stranger = open_store("s3://bucket/prefix", endpoint=endpoint, timeout_s=2)

        store.probe()
        store.put("a", b"data")

        assert store.get("a").data == b"data"
        signed = store.presign_put("a", expires_s=60)
        assert signed is not None
        assert "token-of-the-role" in signed
        with pytest.raises(StoreUnavailable):
            stranger.get("a")


@pytest.mark.parametrize(
    ("endpoint", "addressing", "begins"),
    [
        ("https://store.example", "auto", "https://store.example/bucket/prefix/a?"),
        ("https://store.example", "path", "https://store.example/bucket/prefix/a?"),
        ("https://store.example", "virtual", "https://bucket.store.example/prefix/a?"),
        (None, "auto", "https://bucket.s3.amazonaws.com/prefix/a?"),
        (None, "path", "https://s3.amazonaws.com/bucket/prefix/a?"),
    ],
)
def test_the_bucket_stands_where_the_setting_says(
    endpoint: str | None, addressing: str, begins: str
):
    store = S3Store(
        bucket="bucket",
        prefix="prefix",
        endpoint=endpoint,
        region="us-east-1",
        access_key="x",
        secret_key="y",
        addressing=addressing,
    )

    url = store.presign_put("a", expires_s=60)

    assert url is not None
    assert url.startswith(begins)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"access_key": "x"}, "S3_SECRET_KEY belong together"),
        ({"secret_key": "x"}, "S3_SECRET_KEY belong together"),
        ({"ca": "/none/ca.pem"}, "S3_CA is '/none/ca.pem'; there is no such file"),
    ],
)
def test_what_is_missing_is_named_at_the_start(settings: dict[str, str], message: str):
    with pytest.raises(ConfigurationError, match=message):
        open_store("s3://bucket", endpoint=f"http://{HOST}:{free_port()}", **settings)
