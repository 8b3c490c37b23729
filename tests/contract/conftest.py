"""The implementations that the contract tests run on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from shared.adapters.directory.object_store import DirectoryStore
from shared.adapters.s3.object_store import S3Store
from shared.ports import ObjectStore
from tests.fakes import FakeStore
from tests.servers import moto_server

BUCKET = "pigeonhole"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server with an empty bucket."""
    with moto_server() as server:
        boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
        ).create_bucket(Bucket=BUCKET)
        yield server.url


@pytest.fixture
def s3_store(s3_endpoint: str) -> Callable[..., S3Store]:
    """Makes stores that share one empty prefix of the bucket."""
    prefix = uuid.uuid4().hex

    def make(**settings: object) -> S3Store:
        return S3Store(
            **{
                "bucket": BUCKET,
                "prefix": prefix,
                "endpoint": s3_endpoint,
                "access_key": "id",
                "secret_key": "secret",
                **settings,
            }
        )

    return make


@pytest.fixture(params=["fake", "directory", pytest.param("s3", marks=pytest.mark.integration)])
def object_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each implementation in turn, empty."""
    if request.param == "fake":
        return FakeStore()
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    make: Callable[..., S3Store] = request.getfixturevalue("s3_store")
    return make()
