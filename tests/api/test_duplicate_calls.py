"""A call that makes a job and is sent again while the job runs is the same job."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.services.duplicate_calls import GRACE_S
from tests.api.conftest import EXAMPLES, World, make_world
from tests.classifier_files import classifier_file
from tests.classifiers import put_classifier

CSV = b"text,label\na,x\nb,y\n"
NO_WAIT = {"Prefer": "wait=0"}


def jobs_of(client: FlaskClient) -> list[dict[str, Any]]:
    return list(client.get("/v1/jobs").get_json()["data"])


def train(client: FlaskClient, **said: Any) -> TestResponse:
    return client.post("/v1/train", json={"input": EXAMPLES, **said}, headers=NO_WAIT)


def wake(world: World) -> None:
    world.worker.asleep = False
    world.worker.drain("cpu.train.tiny")


def test_a_train_call_sent_fifteen_times_while_its_job_runs_is_one_job(
    client: FlaskClient, world: World
):
    world.worker.asleep = True

    answers = [train(client) for _ in range(15)]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len(jobs_of(client)) == 1


def test_the_repeated_call_gets_the_outcome_once_the_job_has_ended(
    client: FlaskClient, world: World
):
    world.worker.asleep = True
    late = train(client)
    wake(world)

    again = train(client)
    new = client.post("/v1/train", json={"input": EXAMPLES})

    assert late.headers["Location"].endswith(again.get_json()["job_id"])
    assert new.get_json()["job_id"] != again.get_json()["job_id"]


def test_the_same_examples_train_twice_when_the_first_call_was_answered(client: FlaskClient):
    first = client.post("/v1/train", json={"input": EXAMPLES, "name": "known"}).get_json()
    body = {"input": EXAMPLES, "classifier_id": first["classifier_id"]}

    versions = [client.post("/v1/train", json=body).get_json()["version"] for _ in range(2)]

    assert versions == [2, 3]


def test_a_call_long_after_the_end_of_its_job_is_a_new_one():
    now = [time.time()]
    world = make_world(clock=lambda: now[0])
    client = world.client()
    world.worker.asleep = True
    late = train(client)
    wake(world)
    now[0] += GRACE_S + 60

    again = client.post("/v1/train", json={"input": EXAMPLES})

    assert again.status_code == 200
    assert not late.headers["Location"].endswith(again.get_json()["job_id"])


def test_calls_of_two_keys_and_with_an_idempotency_key_are_jobs_of_their_own(world: World):
    world.worker.asleep = True
    first, second = world.client(), world.client()

    places = [train(first), train(second)]
    places += [
        first.post("/v1/train", json={"input": EXAMPLES}, headers={**NO_WAIT, "Idempotency-Key": k})
        for k in ("a", "b")
    ]

    assert len({answer.headers["Location"] for answer in places}) == 4


def test_two_equal_calls_at_once_are_one_job(world: World):
    world.worker.asleep = True
    client, together = world.client(), threading.Barrier(8)
    secret = client.environ_base["HTTP_AUTHORIZATION"]

    def send(_: int) -> TestResponse:
        together.wait(60)
        return world.app.test_client().post(
            "/v1/train",
            json={"input": EXAMPLES},
            headers={**NO_WAIT, "Authorization": secret},
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len(jobs_of(client)) == 1


@pytest.mark.parametrize(
    "send",
    [
        lambda client: client.post(
            "/v1/train",
            data={"file": (io.BytesIO(CSV), "x.csv")},
            content_type="multipart/form-data",
            headers=NO_WAIT,
        ),
        lambda client: client.post(
            "/v1/classifiers/import",
            data=classifier_file(),
            content_type="application/octet-stream",
            headers=NO_WAIT,
        ),
        lambda client: client.post(
            "/v1/classifiers/spam/evaluate", json={"input": EXAMPLES}, headers=NO_WAIT
        ),
        lambda client: client.post(
            "/v1/classifiers/spam/rebuild", json={"model": "tiny"}, headers=NO_WAIT
        ),
    ],
    ids=["multipart", "import", "evaluate", "rebuild"],
)
def test_every_call_that_is_always_a_job_is_found_again(
    client: FlaskClient, world: World, send: Callable[[FlaskClient], TestResponse]
):
    put_classifier(world.store, name="spam", keep_examples=True, labels=("team1", "team2"))
    world.worker.asleep = True

    first, again = send(client), send(client)

    assert (first.status_code, again.status_code) == (202, 202), first.get_data()
    assert first.headers["Location"] == again.headers["Location"]
    assert len(jobs_of(client)) == 1


def test_a_repeated_call_is_told_of_its_job_where_no_worker_lives_any_more(
    client: FlaskClient, world: World
):
    world.worker.asleep = True
    first = train(client)
    world.ledger.report("worker", "tiny", b"", ttl_s=0)

    again = train(client)

    assert again.status_code == 202
    assert first.headers["Location"] == again.headers["Location"]
