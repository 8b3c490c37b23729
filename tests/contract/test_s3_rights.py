"""The rights on S3 that the docs name: with them all calls work, without one of them some fail."""

from __future__ import annotations

import ast
import io
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

import shared.adapters
from shared.adapters.s3.buckets import S3Buckets, buckets_of
from shared.adapters.s3.object_store import S3Store
from shared.errors import ObjectMissing, PigeonholeError
from shared.settings import Settings
from tests.servers import moto_server

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "object-store.md"
MIB = 1 << 20
Policies = list[dict[str, Any]]


def documented() -> Policies:
    """The policies of the page, in order: own bucket, inputs, outputs."""
    section = PAGE.read_text("utf-8").split("## S3 rights")[1].split("\n## ")[0]
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", section, re.S)]


def rights(policies: Policies) -> list[tuple[int, int, str]]:
    """Every right by the places of its policy and its statement."""
    return [
        (place, number, action)
        for place, policy in enumerate(policies)
        for number, statement in enumerate(policy["Statement"])
        for action in statement["Action"]
    ]


@dataclass(frozen=True, kw_only=True)
class Iam:
    """A server that enforces policies; `admin` makes clients that may do everything."""

    url: str
    access: dict[str, str]

    def admin(self, service: str) -> Any:
        return self.client(service, self.access)

    def client(self, service: str, access: dict[str, str]) -> Any:
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **access)

    def user(self, policies: Policies) -> dict[str, str]:
        """The access key of a new user with these policies."""
        return new_user(self.admin("iam"), policies)


def new_user(iam: Any, policies: Policies) -> dict[str, str]:
    name = f"user-{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    for number, policy in enumerate(policies):
        iam.put_user_policy(
            UserName=name, PolicyName=f"p{number}", PolicyDocument=json.dumps(policy)
        )
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
    }


@pytest.fixture(scope="module")
def iam() -> Iterator[Iam]:
    with moto_server() as server:
        root = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        begin = Iam(url=server.url, access=root)
        everything = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": ["*"], "Resource": ["*"]}],
        }
        access = new_user(begin.admin("iam"), [everything])
        for bucket in ("pigeonhole", "lake"):
            begin.admin("s3").create_bucket(Bucket=bucket)
        plain = {"Content-Type": "text/plain"}
        switch = Request(f"{server.url}/moto-api/reset-auth", data=b"0", headers=plain)
        with urlopen(switch, timeout=10):
            yield Iam(url=server.url, access=access)


class Breaking(io.RawIOBase):
    """A stream that breaks after its first part."""

    def __init__(self) -> None:
        self._left = 6 * MIB

    def read(self, size: int = -1) -> bytes:
        if self._left <= 0:
            raise ConnectionResetError
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


def a_store(iam: Iam, access: dict[str, str]) -> S3Store:
    return S3Store(
        bucket="pigeonhole",
        prefix="production",
        endpoint=iam.url,
        access_key=access["aws_access_key_id"],
        secret_key=access["aws_secret_access_key"],
        part_bytes=5 * MIB,
    )


def some_buckets(iam: Iam, access: dict[str, str]) -> S3Buckets:
    buckets = buckets_of(
        Settings(
            object_store="s3://pigeonhole/production",
            s3_endpoint=iam.url,
            s3_access_key=access["aws_access_key_id"],
            s3_secret_key=access["aws_secret_access_key"],
            s3_inputs="s3://lake/tickets/",
            s3_outputs="s3://lake/tagged/",
        )
    )
    buckets._part_bytes = 5 * MIB
    return buckets


def use(store: S3Store, buckets: S3Buckets) -> None:
    """Every call that the service makes."""
    store.probe()
    store.put("small", b"x", if_absent=True)
    store.put("large", io.BytesIO(bytes(6 * MIB)))
    with pytest.raises(ConnectionResetError):
        store.put("broken", Breaking())  # type: ignore[arg-type]
    assert store.get("small").data == b"x"
    with store.open("large") as stream:
        assert len(stream.read()) == 6 * MIB
    with pytest.raises(ObjectMissing):
        store.get("none")
    assert list(store.list("")) == ["large", "small"]
    assert list(store.children("")) == ["large", "small"]
    assert store.now() > 0
    # Who uses such a URL needs what its signer may: the server of this test does not judge it.
    assert store.presign_put("small", expires_s=60)
    assert store.presign_post("small", expires_s=60, max_bytes=10)
    for name in list(store.list("")):
        store.delete(name)
    assert not list(store.list(""))

    (found,) = buckets.list("s3://lake/tickets/")
    assert buckets.find(found.url) == found
    with buckets.open(found.url, etag=found.etag) as stream:
        assert stream.read() == b"rows"
    buckets.put("s3://lake/tagged/small", io.BytesIO(b"x"))
    buckets.put("s3://lake/tagged/large", io.BytesIO(bytes(6 * MIB)))
    with pytest.raises(ConnectionResetError):
        buckets.put("s3://lake/tagged/broken", Breaking())  # type: ignore[arg-type]


def works(iam: Iam, access: dict[str, str]) -> set[str]:
    """Make every call; the operations of S3 that it took.

    Raises:
        Exception: A right was missing.
    """
    admin = iam.admin("s3")
    admin.put_object(Bucket="lake", Key="tickets/day.csv", Body=b"rows")
    store, buckets = a_store(iam, access), some_buckets(iam, access)
    made: set[str] = set()
    for calls in (store._calls, buckets._calls):
        events = calls._client.meta.events
        events.register("before-call.s3", lambda model, **_: made.add(model.name))
    try:
        use(store, buckets)
        for bucket in ("pigeonhole", "lake"):
            left = admin.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
            assert not left, "parts of a broken upload are left"
    finally:
        clear(admin)
    return made


def clear(admin: Any) -> None:
    for bucket in ("pigeonhole", "lake"):
        for each in admin.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            admin.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
        for each in admin.list_objects_v2(Bucket=bucket).get("Contents", []):
            admin.delete_object(Bucket=bucket, Key=each["Key"])


def written_calls() -> set[str]:
    """The operations of S3 that the code calls, in the names of botocore."""
    found: set[str] = set()
    for path in Path(shared.adapters.__file__).parent.glob("s3/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "s3":
                    found.add(node.attr)
            elif isinstance(node, ast.Call) and "methodcaller" in ast.unparse(node.func):
                found.add(ast.literal_eval(node.args[0]))
    return found - {"generate_presigned_post", "generate_presigned_url", "meta"}


def test_the_policies_of_the_docs_let_every_call_of_the_code_through(iam: Iam):
    made = works(iam, iam.user(documented()))

    names = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in made}
    assert {name.replace("_v2", "v2") for name in written_calls()} == {
        name.replace("_v2", "v2") for name in names
    }


@pytest.mark.parametrize(
    ("place", "number", "action"), rights(documented()), ids=lambda each: str(each)
)
def test_each_right_is_needed(iam: Iam, place: int, number: int, action: str):
    fewer = documented()
    statements = fewer[place]["Statement"]
    statements[number]["Action"].remove(action)
    if not statements[number]["Action"]:
        del statements[number]

    # Ours refuse; parts that could not be removed are found left.
    with pytest.raises((PigeonholeError, AssertionError)):
        works(iam, iam.user([each for each in fewer if each["Statement"]]))


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("get_object", "pigeonhole/elsewhere/x"),
        ("delete_object", "pigeonhole/elsewhere/x"),
        ("get_object", "lake/tagged/x"),
        ("delete_object", "lake/tagged/x"),
        ("put_object", "lake/tickets/x"),
        ("delete_object", "lake/tickets/x"),
        ("get_object", "lake/private/x"),
    ],
)
def test_nothing_else_is_allowed(iam: Iam, call: str, key: str):
    bucket, _, name = key.partition("/")
    client = iam.client("s3", iam.user(documented()))

    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(client, call)(Bucket=bucket, Key=name)
