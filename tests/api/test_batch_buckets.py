"""/v1/batches that name addresses of buckets: what is asked of the worker, and what is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.openai.batch import BatchObject
from shared import ids, object_keys
from shared.batches import BatchRequest, BatchResult, RowSource
from shared.jobs import Finalise, Start, Succeed, advance
from shared.messages import Submission, decode, encode
from tests.api.conftest import World
from tests.api.test_batches import NOW
from tests.problems import assert_openai_error

ROWS = b'{"id": "1", "text": "a"}\n'
URL = "s3://inbox/rows/x.jsonl"
OUT = "s3://outbox/results/"


@pytest.fixture(autouse=True)
def rows(world: World) -> None:
    """An object of one row; nobody works on it."""
    world.buckets.objects[URL] = ROWS
    world.worker.asleep = True


def create(client: FlaskClient, **said: Any) -> TestResponse:
    body = {"input_url": URL, "classify": {"labels": ["x", "y"]}, **said}
    return client.post(
        "/v1/batches", json={key: value for key, value in body.items() if value is not ...}
    )


def asked(client: FlaskClient, world: World, **said: Any) -> BatchRequest:
    answer = create(client, **said)
    assert answer.status_code == 200, answer.data
    job_id = ids.job_id_of(answer.get_json()["id"])
    body = decode(Submission, world.store.get(object_keys.request("acme", job_id)).data).body
    assert isinstance(body, BatchRequest)
    return body


@pytest.mark.parametrize("url", [URL, "s3://inbox/rows/"])
def test_the_worker_is_told_where_to_read_and_write(client: FlaskClient, world: World, url: str):
    body = asked(client, world, input_url=url, output_url=OUT, delimiter=";")

    assert body.source == RowSource(url=url, delimiter=";")
    assert body.output_url == OUT


def test_a_batch_says_what_it_reads(client: FlaskClient):
    batch = create(client, output_url=OUT).get_json()

    BatchObject.model_validate(batch, strict=True)
    assert (batch["input_file_id"], batch["input_url"]) == (None, URL)
    assert (batch["output_url"], batch["error_url"]) == (None, None)


def test_a_batch_that_has_ended_says_where_its_files_are(client: FlaskClient, world: World):
    batch = create(client, output_url=OUT).get_json()
    job = world.ledger.record(ids.job_id_of(batch["id"]))
    assert job is not None
    done = BatchResult(output_file="file-x", output_url=f"{OUT}o.jsonl", error_url=f"{OUT}e.jsonl")
    world.store.put(object_keys.result("acme", job.id), encode(done))
    running = advance(advance(job, Start(), NOW), Finalise(), NOW)
    ended = advance(running, Succeed(progress=job.progress, usage=done.usage), NOW)
    world.store.put(object_keys.job("acme", job.id), encode(ended))
    world.ledger.replace(job, ended)
    world.ledger.finish_job(ended, keep_s=60)

    found = client.get(f"/v1/batches/{batch['id']}").get_json()

    BatchObject.model_validate(found, strict=True)
    assert (found["output_url"], found["error_url"]) == (f"{OUT}o.jsonl", f"{OUT}e.jsonl")
    assert found["output_file_id"] == "file-x"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://inbox/rows2/x", "can add it to PIGEONHOLE_S3_INPUTS"),
        ("s3://inbox/rows", "can add it to PIGEONHOLE_S3_INPUTS"),
        ("s3://inbox2/rows/x", "can add it to PIGEONHOLE_S3_INPUTS"),
        (f"{OUT}x", "can add it to PIGEONHOLE_S3_INPUTS"),
        ("s3://inbox/rows/../secret", "must be s3://bucket/key"),
        ("https://inbox/rows/x", "must be s3://bucket/key"),
        ("s3://inbox/rows/none", "does not exist"),
        ("s3://inbox/rows/none/", "no objects exist"),
        ("", "must be s3://bucket/key"),
        (7, "must be a string"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused(client: FlaskClient, url: object, says: str):
    assert_openai_error(create(client, input_url=url), 400, param="input_url", says=says)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://outbox/results2/", "can add it to PIGEONHOLE_S3_OUTPUTS"),
        ("s3://inbox/rows/", "can add it to PIGEONHOLE_S3_OUTPUTS"),
        ("s3://outbox/results/x", "must end in /"),
        ("s3://outbox/results//", "must be s3://bucket/key"),
        ("s3://outbox/results/" + "x" * 850 + "/", "at most 900 bytes"),
        ("", "must end in /"),
    ],
)
def test_an_address_that_cannot_be_written_to_is_refused(client: FlaskClient, url: str, says: str):
    assert_openai_error(create(client, output_url=url), 400, param="output_url", says=says)


def test_the_worker_is_told_what_the_files_are_called(client: FlaskClient, world: World):
    name = "dt={date}/{input_name}_{kind}.{ext}"
    body = asked(client, world, output_url=OUT, output_name=name)

    assert body.output_name == name
    batch = create(client, output_url=OUT, output_name=name).get_json()
    BatchObject.model_validate(batch, strict=True)
    assert batch["output_name"] == name
    assert create(client).get_json()["output_name"] is None


@pytest.mark.parametrize(
    ("name", "said", "says"),
    [
        (
            "{id}_{kind}",
            {},
            "unknown placeholder {id}; supported are {batch_id}, {input_name}, {date}, {kind}, "
            "{ext}",
        ),
        ("{kind", {}, "unmatched brace"),
        ("", {}, "must have 1 to 256 characters"),
        ("../{kind}", {"output_url": OUT}, "must not have empty, '.' or '..' segments"),
        ("{batch_id}.jsonl", {}, "the same name: add {kind}"),
        ("{batch_id}.{ext}", {}, "the same name: add {kind}"),
        ("{date}/{kind}.{ext}", {}, "which needs an output_url"),
        ("{kind}" + "{batch_id}" * 20, {}, "results in an object name of more than 512 bytes"),
        (7, {}, "must be a string"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    client: FlaskClient, name: object, said: dict[str, Any], says: str
):
    answer = create(client, output_name=name, **said)

    assert_openai_error(answer, 400, param="output_name", says=says)


def test_the_ends_of_the_files_may_tell_them_apart(client: FlaskClient, world: World):
    body = asked(client, world, output_name="{batch_id}.{ext}", output_format="csv")

    assert body.output_name == "{batch_id}.{ext}"


def test_rows_come_from_one_place(client: FlaskClient):
    sent = {"purpose": "batch", "file": (io.BytesIO(ROWS), "rows.jsonl")}
    file = client.post("/v1/files", data=sent).get_json()["id"]

    both = create(client, input_file_id=file)
    none = create(client, input_url=...)

    assert_openai_error(both, 400, param="input_url", says="send only one of them")
    assert_openai_error(none, 400, param="input_file_id", says="is missing")


def test_a_server_that_is_away_is_no_fault_of_the_caller(client: FlaskClient, world: World):
    world.buckets.away = True

    assert_openai_error(create(client), 503)
    assert_openai_error(create(client, input_url="s3://inbox/rows/"), 503)
