"""A service on S3, of real processes: uploads in parts, and batches from bucket to bucket."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.request import Request, urlopen

import boto3
import openai
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai import OpenAI

from shared.adapters.store_factory import store_of
from tests.integration.test_openai_sdk import ENDPOINT, client_of, create, jsonl, lines, wait
from tests.servers import moto_server
from tests.stack import LABELS, Stack, running_stack

pytestmark = pytest.mark.integration
ROWS = [{"id": f"r{i}", "text": f"a {'red' if i % 2 else 'green'} thing {i}"} for i in range(30)]
MIB = 1 << 20


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Any]]:
    """A service whose store is a bucket, that may use others; and a client of those."""
    with ExitStack() as up:
        server = up.enter_context(moto_server())
        access = {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        s3 = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", **access)
        for bucket in ("pigeons", "data-lake"):
            s3.create_bucket(Bucket=bucket)
        stack = up.enter_context(
            running_stack(
                tmp_path_factory.mktemp("s3"),
                object_store="s3://pigeons/prod",
                s3_endpoint=server.url,
                s3_access_key="id",
                s3_secret_key="secret",
                s3_inputs="s3://data-lake/in/",
                s3_outputs="s3://data-lake/out/",
            )
        )
        yield stack, s3


@pytest.fixture(scope="module")
def client(on_s3: tuple[Stack, Any]) -> Iterator[OpenAI]:
    with client_of(on_s3[0], on_s3[0].key) as client:
        yield client


def begin(client: OpenAI, data: bytes) -> str:
    return client.uploads.create(
        bytes=len(data), filename="rows.jsonl", mime_type="application/jsonl", purpose="batch"
    ).id


def uploads_left(stack: Stack) -> list[str]:
    return [name for name in store_of(stack.settings).list("uploads/") if "/parts/" in name]


def test_a_prefix_of_three_formats_becomes_files_in_a_bucket(
    client: OpenAI, on_s3: tuple[Stack, Any]
):
    _, s3 = on_s3
    table = "id;text\r\n" + "".join(f"{row['id']};{row['text']}\r\n" for row in ROWS[:10])
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS[20:]), file)
    for name, data in (
        ("in/day 1/a.csv", table.encode("utf-16")),
        ("in/day 1/b.jsonl.gz", gzip.compress(jsonl([*ROWS[10:20], {"id": "bad"}]))),
        ("in/day 1/c.parquet", file.getvalue()),
        ("in/day 10/d.csv", b"id,text\nother,not this one\n"),
    ):
        s3.put_object(Bucket="data-lake", Key=name, Body=data)

    created = client.batches.create(
        input_file_id=openai.omit,  # type: ignore[arg-type]
        endpoint=ENDPOINT,
        completion_window="24h",
        extra_body={
            "input_url": "s3://data-lake/in/day 1/",
            "output_url": "s3://data-lake/out/",
            "output_format": "csv",
            "classify": {"labels": LABELS},
            "id_column": "id",
        },
    )
    ended = wait(client, created)

    assert ended.status == "completed", ended
    assert ended.request_counts is not None
    assert (ended.request_counts.completed, ended.request_counts.failed) == (30, 1)
    assert ended.errors is not None
    assert ended.errors.data is not None
    assert str(ended.errors.data[0].message).startswith("b.jsonl.gz, line 11: ")
    said = ended.model_extra or {}
    assert said["format"].startswith("3 objects: CSV, delimiter ';', UTF-16LE")
    assert said["output_url"] == f"s3://data-lake/out/{ended.id}_output.csv"
    assert said["error_url"] == f"s3://data-lake/out/{ended.id}_errors.jsonl"
    written = {
        kind: s3.get_object(Bucket="data-lake", Key=f"out/{ended.id}_{kind}")["Body"].read()
        for kind in ("output.csv", "errors.jsonl")
    }
    kept = s3.list_objects_v2(Bucket="pigeons", Prefix="prod/files/")["Contents"]
    types = {
        s3.head_object(Bucket=bucket, Key=key)["ContentType"]
        for bucket, key in [
            *(("data-lake", f"out/{ended.id}_{kind}") for kind in written),
            *(("pigeons", each["Key"]) for each in kept),
        ]
    }
    assert types == {"text/csv", "application/jsonl", "application/json"}
    found = list(csv.DictReader(io.StringIO(written["output.csv"].decode(), newline="")))
    assert [row["id"] for row in found] == [row["id"] for row in ROWS]
    assert {row["prediction"] for row in found} <= set(LABELS)
    assert json.loads(written["errors.jsonl"])["id"] == "bad"
    assert client.files.content(str(ended.output_file_id)).read() == written["output.csv"]
    with pytest.raises(openai.BadRequestError) as refusal:
        create(client, openai.omit, input_url="s3://pigeons/prod/keys/")  # type: ignore[arg-type]
    assert refusal.value.param == "input_url"


def test_a_partitioned_table_of_parquet_whose_ids_repeat_becomes_parquet(
    client: OpenAI, on_s3: tuple[Stack, Any]
):
    _, s3 = on_s3
    table = pa.table({"id": pa.array(range(3), pa.int32()), "text": ["red", "", "a green thing"]})
    days = [f"2026-01-0{day}" for day in (1, 2)]
    for day in days:
        file = io.BytesIO()
        pq.write_table(table, file)
        key = f"in/tickets/dt={day}/part-0.parquet"
        s3.put_object(Bucket="data-lake", Key=key, Body=file.getvalue())

    batch = create(
        client,
        openai.omit,  # type: ignore[arg-type]
        input_url="s3://data-lake/in/tickets/",
        output_format="parquet",
        output_url="s3://data-lake/out/",
        output_name="{input_name}/run={date}/{kind}.{ext}",
    )
    ended = wait(client, batch)

    assert ended.status == "completed", ended
    assert ended.request_counts is not None
    assert (ended.request_counts.completed, ended.request_counts.failed) == (4, 2)
    said = ended.model_extra or {}
    day = time.strftime("%Y-%m-%d", time.gmtime(ended.created_at))
    folder = f"out/tickets/run={day}"
    assert said["error_url"] == f"s3://data-lake/{folder}/errors.jsonl"
    assert client.files.retrieve(str(ended.output_file_id)).filename == "output.parquet"
    place = str(said["output_url"]).removeprefix("s3://data-lake/")
    assert place == f"{folder}/output.parquet"
    found = pq.read_table(io.BytesIO(s3.get_object(Bucket="data-lake", Key=place)["Body"].read()))
    assert found.schema.field("id").type == pa.int32()
    rows = found.to_pylist()
    assert [(row["dt"], row["id"]) for row in rows] == [(day, n) for day in days for n in (0, 2)]
    assert {row["object_key"] for row in rows} == {
        f"in/tickets/dt={day}/part-0.parquet" for day in days
    }
    assert [each["label"] for each in rows[0]["predictions"]] == LABELS
    errors = lines(client, ended.error_file_id)
    assert [(line["id"], line["row"]["dt"]) for line in errors] == [("1", day) for day in days]


def test_an_upload_in_three_parts_becomes_a_batch(client: OpenAI, on_s3: tuple[Stack, Any]):
    data = jsonl(ROWS)
    upload = begin(client, data)
    cuts = [data[:100], data[100:777], data[777:]]

    parts = [client.uploads.parts.create(upload, data=piece) for piece in cuts]
    done = client.uploads.complete(upload, part_ids=[part.id for part in parts])

    assert done.status == "completed"
    assert done.file is not None
    ended = wait(client, create(client, done.file.id))
    assert ended.status == "completed"
    output = lines(client, ended.output_file_id)
    assert [line["id"] for line in output] == [row["id"] for row in ROWS]
    assert uploads_left(on_s3[0]) == []


def test_parts_go_straight_to_the_store_by_their_urls(client: OpenAI, on_s3: tuple[Stack, Any]):
    stack, _ = on_s3
    data = jsonl(ROWS) * (12 * MIB // len(jsonl(ROWS)))
    upload = begin(client, data)
    made = stack.call("POST", f"/v1/uploads/{upload}/part_urls", {"count": 3}).json()["data"]
    third = len(data) // 3

    for part, piece in zip(made, (data[:third], data[third:-third], data[-third:]), strict=True):
        headers = {"Content-Type": "application/octet-stream"}
        put = Request(part["url"], data=piece, method="PUT", headers=headers)
        with urlopen(put, timeout=30) as answer:
            assert answer.status == 200
    done = client.uploads.complete(upload, part_ids=[part["id"] for part in made])

    assert done.file is not None
    assert client.files.content(done.file.id).read() == data
    assert uploads_left(stack) == []


def test_uploads_are_cancelled_and_wrong_ones_named(client: OpenAI, on_s3: tuple[Stack, Any]):
    upload = begin(client, b"0123456789")
    part = client.uploads.parts.create(upload, data=b"01234")

    with pytest.raises(openai.BadRequestError, match="5 of the 10 bytes"):
        client.uploads.complete(upload, part_ids=[part.id])
    assert client.uploads.cancel(upload).status == "cancelled"

    with pytest.raises(openai.ConflictError, match="cancelled"):
        client.uploads.complete(upload, part_ids=[part.id])
    with pytest.raises(openai.NotFoundError, match="no such upload"):
        client.uploads.cancel("upload_none")
    assert uploads_left(on_s3[0]) == []
