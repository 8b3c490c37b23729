"""POST /v1/batches?dry_run=true: what would become of a batch, and nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.openai.dry_run import DryRunAnswer
from shared.batches import DryRunRequest
from tests.api.conftest import World
from tests.api.test_batches import ASK, file, send_file  # noqa: F401
from tests.problems import assert_openai_error


def ask(client: FlaskClient, file: str, path: str = "?dry_run=true", **more: Any) -> TestResponse:  # noqa: F811
    headers = more.pop("headers", None)
    body = {"input_file_id": file, "classify": ASK, **more}
    return client.post(f"/v1/batches{path}", json=body, headers=headers)


def kept(world: World) -> list[str]:
    """All that is on the store but files, keys and their uses, and charges."""
    apart = ("charges/", "files/", "keys/", "key_index/", "idempotency/")
    return [name for name in world.store.objects if not name.startswith(apart)]


def test_counts_bad_rows_of_a_batch_that_can_run(client: FlaskClient, file: str):  # noqa: F811
    answer = ask(client, file)

    assert answer.status_code == 200, answer.data
    found = answer.get_json()
    DryRunAnswer.model_validate(found, strict=True)
    assert found == {
        "object": "batch.dry_run",
        "valid": True,
        "format": "JSONL, UTF-8",
        "request_counts": {"total": 3, "valid": 2, "invalid": 1},
        "errors": {
            "object": "list",
            "data": [
                {
                    "code": "missing_column",
                    "message": "is missing; there are: 'id'",
                    "param": "text",
                    "line": 2,
                }
            ],
        },
        "usage_estimate": {"tokens": 4, "exact": True, "sampled_rows": 3},
        "estimated_seconds": None,
    }


def test_of_a_good_file_is_valid(client: FlaskClient):
    found = ask(client, send_file(client, b'{"text": "a"}\n')).get_json()

    assert (found["valid"], found["errors"]) == (True, None)


def test_of_a_file_that_cannot_be_read_is_a_report_too(client: FlaskClient):
    found = ask(client, send_file(client, b"")).get_json()

    assert (found["valid"], found["format"]) == (False, None)
    assert found["errors"]["data"][0]["message"] == "file: holds no rows; send one row at least"


def test_leaves_nothing_behind(client: FlaskClient, world: World, file: str):  # noqa: F811
    assert ask(client, file).status_code == 200

    assert kept(world) == []
    assert client.get("/v1/batches").get_json()["data"] == []
    assert client.get("/v1/jobs").get_json()["data"] == []
    assert len(client.get("/v1/files").get_json()["data"]) == 1


def test_may_be_polled(client: FlaskClient, file: str):  # noqa: F811
    answer = ask(client, file, headers={"Prefer": "respond-async"})

    assert answer.status_code == 202
    assert answer.get_json()["kind"] == "dry_run"
    job = client.get(answer.headers["Location"]).get_json()
    assert job["result"]["object"] == "batch.dry_run"
    assert client.get("/v1/batches").get_json()["data"] == []


def test_that_takes_too_long_says_where_it_goes_on(
    client: FlaskClient,
    world: World,
    file: str,  # noqa: F811
):
    world.worker.asleep = True

    answer = ask(client, file, headers={"Prefer": "wait=0"})

    assert_openai_error(answer, 504)
    assert answer.headers["Location"].startswith("/v1/jobs/job_")


def test_sent_twice_with_one_key_is_answered_twice(client: FlaskClient, file: str):  # noqa: F811
    headers = {"Idempotency-Key": "k"}

    first, second = (ask(client, file, headers=headers) for _ in range(2))

    assert first.get_json() == second.get_json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert_openai_error(ask(client, file, "", headers=headers), 422, says="another request")


@pytest.mark.parametrize("said", ["", "1", "yes"])
def test_must_be_said_clearly(client: FlaskClient, file: str, said: str):  # noqa: F811
    assert_openai_error(ask(client, file, f"?dry_run={said}"), 400, param="dry_run")


def test_that_is_not_asked_for_runs(client: FlaskClient, file: str):  # noqa: F811
    assert ask(client, file, "?dry_run=false").get_json()["object"] == "batch"


def test_checks_what_is_asked_as_a_batch_does(client: FlaskClient, world: World, file: str):  # noqa: F811
    assert_openai_error(ask(client, file, classify={"labels": ["x"]}), 400, param="classify.labels")
    assert_openai_error(ask(client, "file-nope"), 400, param="input_file_id")
    assert kept(world) == []


def test_without_a_worker_is_refused(client: FlaskClient, world: World, file: str):  # noqa: F811
    world.ledger.report("worker", "tiny", b"", ttl_s=0)

    assert_openai_error(ask(client, file), 503)
    assert kept(world) == []


def test_asks_the_worker_for_nothing_else(client: FlaskClient, world: World, file: str):  # noqa: F811
    world.worker.asleep = True
    ask(client, file, headers={"Prefer": "respond-async"})

    (claim,) = world.ledger.claim("cpu.standard.tiny", None, calls=0, parts=9, lease_s=9).claims
    job = world.ledger.record(claim.job_id)
    assert job is not None
    body = world.services.jobs.submission(job).body
    assert isinstance(body, DryRunRequest)
    assert (body.model, body.batch.source.object) == ("tiny", file)
