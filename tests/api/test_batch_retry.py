"""POST /v1/batches/{id}/retry: a new batch of what did not come out of another."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.wire.openai.batch import BatchObject
from shared import ids, layout
from shared.batches import BatchRequest
from shared.messages import Submission, decode
from tests.api.conftest import World
from tests.api.test_batches import Create, create, file, get, send_file  # noqa: F401
from tests.problems import assert_openai_error


@pytest.fixture
def batch(create: Create) -> str:  # noqa: F811
    """A batch of three rows, of which one failed."""
    return str(create(completion_window="2h", metadata={"team": "a"}).get_json()["id"])


def body_of(world: World, batch: str) -> BatchRequest:
    data = world.store.get(layout.request("acme", ids.job_id_of(batch))).data
    body = decode(Submission, data).body
    assert isinstance(body, BatchRequest)
    return body


def test_is_a_batch_of_its_own_that_names_the_other(client: FlaskClient, world: World, batch: str):
    answer = client.post(f"/v1/batches/{batch}/retry")

    assert answer.status_code == 200, answer.data
    made = answer.get_json()
    BatchObject.model_validate(made, strict=True)
    assert made["id"] != batch
    assert made["retry_of"] == batch
    assert made["metadata"] == {"team": "a"}
    assert made["expires_at"] == pytest.approx(made["created_at"] + 7200, abs=1)
    assert get(client, batch)["retry_of"] is None
    old, new = body_of(world, batch), body_of(world, made["id"])
    assert (new.retry_of, new.origin) == (ids.job_id_of(batch),) * 2
    assert new.rows == old.rows
    assert {old.output_file, old.error_file}.isdisjoint({new.output_file, new.error_file})


def test_of_a_retry_remembers_where_it_all_began(client: FlaskClient, world: World, batch: str):
    once = client.post(f"/v1/batches/{batch}/retry").get_json()["id"]

    twice = client.post(f"/v1/batches/{once}/retry").get_json()["id"]

    assert body_of(world, twice).retry_of == ids.job_id_of(once)
    assert body_of(world, twice).origin == ids.job_id_of(batch)


def test_sent_twice_with_one_key_is_one_batch(client: FlaskClient, batch: str):
    headers = {"Idempotency-Key": "k"}

    answers = [client.post(f"/v1/batches/{batch}/retry", headers=headers) for _ in range(2)]

    assert answers[0].get_json()["id"] == answers[1].get_json()["id"]
    assert len(client.get("/v1/batches").get_json()["data"]) == 2


def test_of_a_batch_that_goes_on_is_refused(create: Create, client: FlaskClient, world: World):  # noqa: F811
    world.worker.asleep = True
    batch = create().get_json()["id"]

    answer = client.post(f"/v1/batches/{batch}/retry")

    assert_openai_error(answer, 409, says="has ended")


def test_of_a_batch_without_a_failure_is_refused(client: FlaskClient):
    said = {
        "input_file_id": send_file(client, b'{"text": "a"}\n'),
        "classify": {"labels": ["x", "y"]},
    }
    batch = client.post("/v1/batches", json=said).get_json()["id"]

    assert_openai_error(client.post(f"/v1/batches/{batch}/retry"), 409, says="nothing to retry")


def test_of_a_file_that_was_deleted_names_it(client: FlaskClient, batch: str):
    file_id = get(client, batch)["input_file_id"]
    client.delete(f"/v1/files/{file_id}")

    answer = client.post(f"/v1/batches/{batch}/retry")

    assert_openai_error(answer, 409, param="input_file_id", says=file_id)


def test_does_without_the_files_that_came_out(client: FlaskClient, batch: str):
    found = get(client, batch)
    for file_id in (found["output_file_id"], found["error_file_id"]):
        assert client.delete(f"/v1/files/{file_id}").status_code == 200

    assert client.post(f"/v1/batches/{batch}/retry").status_code == 200


def test_where_nothing_is_known_of_what_came_out_is_refused(
    client: FlaskClient, world: World, batch: str
):
    world.store.delete(layout.done_rows("acme", ids.job_id_of(batch)))

    assert_openai_error(client.post(f"/v1/batches/{batch}/retry"), 409, says="not known")


def test_of_another_account_or_none_is_unknown(client: FlaskClient, world: World, batch: str):
    other = world.client(account="other")

    assert_openai_error(other.post(f"/v1/batches/{batch}/retry"), 404)
    assert_openai_error(client.post("/v1/batches/nope/retry"), 404)
