"""POST /v1/batches/{id}/retry: a new batch of what did not come out of another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.openai.batch import BatchObject
from api.services.batch_retries import RetryMarker
from shared import ids, object_keys
from shared.batches import BatchRequest
from shared.errors import StoreUnavailable
from shared.messages import Submission, decode
from tests.api.conftest import World, make_world
from tests.api.test_batches import Create, create, file, get, send_file  # noqa: F401
from tests.problems import assert_openai_error

ALL = {"rows": "all"}


@pytest.fixture
def batch(create: Create) -> str:  # noqa: F811
    """A batch of three rows, of which one failed."""
    return str(create(completion_window="2h", metadata={"team": "a"}).get_json()["id"])


def body_of(world: World, batch: str) -> BatchRequest:
    data = world.store.get(object_keys.request("acme", ids.job_id_of(batch))).data
    body = decode(Submission, data).body
    assert isinstance(body, BatchRequest)
    return body


def test_is_a_batch_of_its_own_that_names_the_other(client: FlaskClient, world: World, batch: str):
    answer = client.post(f"/v1/batches/{batch}/retry", json=ALL)

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
    once = client.post(f"/v1/batches/{batch}/retry", json=ALL).get_json()["id"]

    twice = client.post(f"/v1/batches/{once}/retry", json=ALL).get_json()["id"]

    assert body_of(world, twice).retry_of == ids.job_id_of(once)
    assert body_of(world, twice).origin == ids.job_id_of(batch)


def test_sent_twice_with_one_key_is_one_batch(client: FlaskClient, batch: str):
    headers = {"Idempotency-Key": "k"}

    answers = [
        client.post(f"/v1/batches/{batch}/retry", json=ALL, headers=headers) for _ in range(2)
    ]

    assert answers[0].get_json()["id"] == answers[1].get_json()["id"]
    assert len(client.get("/v1/batches").get_json()["data"]) == 2


def test_of_a_batch_that_goes_on_is_refused(create: Create, client: FlaskClient, world: World):  # noqa: F811
    world.worker.asleep = True
    batch = create().get_json()["id"]

    answer = client.post(f"/v1/batches/{batch}/retry", json=ALL)

    assert_openai_error(answer, 409, says="has ended")


def test_of_a_batch_without_a_failure_is_refused(client: FlaskClient):
    said = {
        "input_file_id": send_file(client, b'{"text": "a"}\n'),
        "classify": {"labels": ["x", "y"]},
    }
    batch = client.post("/v1/batches", json=said).get_json()["id"]

    assert_openai_error(
        client.post(f"/v1/batches/{batch}/retry", json=ALL), 409, says="nothing to retry"
    )


def test_of_a_file_that_was_deleted_names_it(client: FlaskClient, batch: str):
    file_id = get(client, batch)["input_file_id"]
    client.delete(f"/v1/files/{file_id}")

    answer = client.post(f"/v1/batches/{batch}/retry", json=ALL)

    assert_openai_error(answer, 409, param="input_file_id", says=file_id)


def test_does_without_the_files_that_came_out(client: FlaskClient, batch: str):
    found = get(client, batch)
    for file_id in (found["output_file_id"], found["error_file_id"]):
        assert client.delete(f"/v1/files/{file_id}").status_code == 200

    assert client.post(f"/v1/batches/{batch}/retry", json=ALL).status_code == 200


def test_where_nothing_is_known_of_what_came_out_is_refused(
    client: FlaskClient, world: World, batch: str
):
    world.store.delete(object_keys.done_rows("acme", ids.job_id_of(batch)))

    assert_openai_error(
        client.post(f"/v1/batches/{batch}/retry", json=ALL),
        409,
        says="record of its completed rows is missing",
    )


def test_of_another_account_or_none_is_unknown(client: FlaskClient, world: World, batch: str):
    other = world.client(account="other")

    assert_openai_error(other.post(f"/v1/batches/{batch}/retry"), 404)
    assert_openai_error(client.post("/v1/batches/nope/retry"), 404)


class TestTheOnlyOne:
    """A batch has one retry, whoever asks for another one and whatever became of the first call."""

    def again(self, client: FlaskClient, batch: str, key: str | None = None) -> TestResponse:
        headers = {} if key is None else {"Idempotency-Key": key}
        return client.post(f"/v1/batches/{batch}/retry", json=ALL, headers=headers)

    def mark(self, world: World, batch: str) -> RetryMarker:
        name = object_keys.retry("acme", ids.job_id_of(batch))
        return RetryMarker.model_validate_json(world.store.get(name).data)

    def die_before(self, world: World, name: Callable[[str], bool]) -> None:
        """Let the process die where it is to write an object of such a name, once."""
        put = world.store.put

        def dying(written: str, *args: Any, **said: Any) -> str:
            if name(written):
                world.store.put = put  # type: ignore[method-assign]
                raise SystemExit
            return put(written, *args, **said)

        world.store.put = dying  # type: ignore[method-assign]

    @pytest.mark.parametrize("key", [None, "k"])
    def test_a_second_one_is_refused_and_names_it(
        self, client: FlaskClient, batch: str, key: str | None
    ):
        made = self.again(client, batch).get_json()["id"]

        assert_openai_error(self.again(client, batch, key), 409, says=made)
        assert_openai_error(self.again(client, batch, key), 409, says="retry that one")
        assert len(client.get("/v1/batches").get_json()["data"]) == 2

    def test_its_replay_is_not_refused(self, client: FlaskClient, batch: str):
        made = self.again(client, batch, "k").get_json()

        assert_openai_error(self.again(client, batch), 409, says=made["id"])
        replay = self.again(client, batch, "k")
        assert (replay.status_code, replay.get_json()) == (200, made)

    @pytest.mark.parametrize("key", [None, "k"])
    @pytest.mark.parametrize("where", ["/request.json", "batches/", "open/"])
    def test_one_whose_call_died_is_made_by_the_next(self, where: str, key: str | None):
        now = [1e9]
        world = make_world(clock=lambda: now[0])
        client = world.client()
        said = {"input_file_id": send_file(client), "classify": {"labels": ["x", "y"]}}
        batch = client.post("/v1/batches", json=said).get_json()["id"]
        self.die_before(world, lambda name: where in name)
        with pytest.raises(SystemExit):
            self.again(client, batch, key)
        begun = self.mark(world, batch).job_id

        too_soon = self.again(client, batch)
        now[0] += 60
        answer = self.again(client, batch, key)

        assert_openai_error(too_soon, 503)
        assert int(too_soon.headers["Retry-After"]) == 1
        assert answer.get_json()["id"] == ids.batch_id_of(begun)
        assert len(client.get("/v1/batches").get_json()["data"]) == 2
        assert_openai_error(self.again(client, batch), 409, says=ids.batch_id_of(begun))

    def test_one_that_the_store_did_not_take_is_made_by_the_next(
        self, client: FlaskClient, world: World, batch: str
    ):
        put = world.store.put

        def failing(name: str, *args: Any, **said: Any) -> str:
            if name.endswith("/request.json"):
                raise StoreUnavailable("away")
            return put(name, *args, **said)

        world.store.put = failing  # type: ignore[method-assign]
        assert_openai_error(self.again(client, batch), 503)
        world.store.put = put  # type: ignore[method-assign]

        answer = self.again(client, batch)

        assert answer.get_json()["id"] == ids.batch_id_of(self.mark(world, batch).job_id)

    def test_of_many_that_are_asked_for_at_once(self, world: World, batch: str):
        clients = [world.client() for _ in range(8)]
        together = threading.Barrier(len(clients))

        def ask(client: FlaskClient) -> TestResponse:
            together.wait()
            return self.again(client, batch)

        with ThreadPoolExecutor(len(clients)) as threads:
            answers = list(threads.map(ask, clients))

        codes = [answer.status_code for answer in answers]
        assert codes.count(200) == 1
        assert set(codes) <= {200, 409, 503}
        assert len(clients[0].get("/v1/batches").get_json()["data"]) == 2

    def test_goes_with_the_batch_that_it_retries(
        self, client: FlaskClient, world: World, batch: str
    ):
        self.again(client, batch)

        name = object_keys.retry("acme", ids.job_id_of(batch))

        assert name.startswith(object_keys.job_prefix("acme", ids.job_id_of(batch)))
        assert name in world.store.list(object_keys.jobs_of("acme"))


def test_of_rows_that_no_retry_cures_says_how_to_run_them_all_the_same(
    client: FlaskClient, batch: str
):
    found = get(client, batch)
    assert (found["request_counts"]["failed"], found["summary"]["retryable"]) == (1, 0)

    for body in (None, {}, {"rows": "retryable"}):
        refused = client.post(f"/v1/batches/{batch}/retry", json=body)
        assert_openai_error(refused, 409, says='send {"rows": "all"}')

    assert client.post(f"/v1/batches/{batch}/retry", json=ALL).status_code == 200


def test_takes_the_rows_that_a_retry_can_cure_unless_asked(
    client: FlaskClient, world: World, batch: str
):
    world.store.put(object_keys.final_rows("acme", ids.job_id_of(batch)), b"")

    made = client.post(f"/v1/batches/{batch}/retry").get_json()["id"]

    assert body_of(world, made).retry_rows == "retryable"


@pytest.mark.parametrize("body", [{"rows": "some"}, {"rows": None}, {"row": "all"}, [], "all"])
def test_of_rows_that_are_none_is_refused(client: FlaskClient, batch: str, body: Any):
    answer = client.post(f"/v1/batches/{batch}/retry", json=body)

    assert_openai_error(answer, 400)


def test_with_other_rows_under_one_key_is_another_request(client: FlaskClient, batch: str):
    headers = {"Idempotency-Key": "k"}
    client.post(f"/v1/batches/{batch}/retry", json=ALL, headers=headers)

    other = client.post(f"/v1/batches/{batch}/retry", headers=headers)

    assert_openai_error(other, 422, param="Idempotency-Key")
