from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any, ClassVar

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.concurrency import RESERVED_THREADS
from api.schemas.evaluation import EvaluateAnswer
from api.schemas.job import JobList, JobObject
from api.services.caller import Caller
from shared import ids, object_keys
from shared.errors import WorkFailed
from shared.types import EvaluateRequest, Example, Item
from tests.api.conftest import World
from tests.problems import assert_problem

Post = Callable[..., TestResponse]
ASYNC = {"Prefer": "respond-async"}
UNKNOWN = ids.job_id(1, 1)


@pytest.fixture
def submit(post: Post) -> Callable[..., str]:
    """Submits a job and gives its id."""
    return lambda **body: post(headers=ASYNC, **body).get_json()["id"]


Submit = Callable[..., str]


class TestOne:
    def test_that_succeeded_holds_its_small_result(
        self, client: FlaskClient, submit: Submit, post: Post
    ):
        job = client.get(f"/v1/jobs/{submit()}").get_json()

        JobObject.model_validate(job)
        assert job["status"] == "succeeded"
        assert job["result"] == post().get_json()
        assert job["result_url"] is None
        assert job["progress"] == {"total": 2, "completed": 2, "failed": 0}
        assert job["usage"] == {"total_tokens": 4}
        assert datetime.fromisoformat(job["finished_at"]).tzinfo is not None

    def test_that_succeeded_gives_the_url_of_a_large_result(self, make: Callable[..., World]):
        client = make(inline_result_bytes=10).client()
        body = {"input": "a", "labels": ["x", "y"]}

        answer = client.post("/v1/classify", json=body, headers=ASYNC)
        job = client.get(answer.headers["Location"]).get_json()
        result = client.get(job["result_url"])

        assert job["result"] is None
        assert result.get_json() == client.post("/v1/classify", json=body).get_json()

    def test_whose_result_is_gone_says_so(self, client: FlaskClient, submit: Submit, world: World):
        job_id = submit()
        world.store.delete(object_keys.result("acme", job_id))

        job = client.get(f"/v1/jobs/{job_id}").get_json()

        assert job["status"] == "succeeded"
        assert_problem(client.get(job["result_url"]), 404, "RESOURCE_NOT_FOUND")

    def test_that_failed_says_why(self, client: FlaskClient, submit: Submit, world: World):
        world.worker.error = WorkFailed("given up after 3 attempts")
        job_id = submit()

        job = client.get(f"/v1/jobs/{job_id}").get_json()

        assert job["status"] == "failed"
        assert job["error"]["detail"] == "given up after 3 attempts"
        assert job["progress"] == {"total": 2, "completed": 0, "failed": 2}
        answer = client.get(f"/v1/jobs/{job_id}/result")
        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="failed")

    def test_that_waits_says_when_to_look_again(
        self, client: FlaskClient, submit: Submit, world: World
    ):
        world.worker.asleep = True
        job_id = submit()

        answer = client.get(f"/v1/jobs/{job_id}")

        assert answer.get_json()["status"] == "queued"
        assert int(answer.headers["Retry-After"]) >= 1
        result = client.get(f"/v1/jobs/{job_id}/result")
        assert_problem(result, 409, "CONFLICT_RESOURCE_BUSY", says="queued")

    def test_is_known_while_redis_is_away(self, client: FlaskClient, submit: Submit, world: World):
        job_id = submit()
        world.ledger.away = True

        assert client.get(f"/v1/jobs/{job_id}").get_json()["status"] == "succeeded"

    def test_that_was_not_wholly_accepted_is_unknown(
        self, client: FlaskClient, submit: Submit, world: World
    ):
        world.worker.asleep = True
        job_id = submit()
        world.ledger.away = True
        waits = client.get(f"/v1/jobs/{job_id}").get_json()

        world.store.delete(object_keys.open_marker(job_id))

        assert waits["status"] == "queued"
        assert_problem(client.get(f"/v1/jobs/{job_id}"), 404, "RESOURCE_NOT_FOUND")
        assert client.get("/v1/jobs").get_json()["data"] == []

    @pytest.mark.parametrize("path", ["", "/result", "/events"])
    @pytest.mark.parametrize("job_id", [UNKNOWN, "job_", "..", "x" * 300])
    def test_that_is_unknown(self, client: FlaskClient, job_id: str, path: str):
        assert_problem(client.get(f"/v1/jobs/{job_id}{path}"), 404, "RESOURCE_NOT_FOUND")

    def test_of_another_account_is_unknown(self, submit: Submit, world: World):
        other = world.client(account="other")
        job_id = submit()

        assert_problem(other.get(f"/v1/jobs/{job_id}"), 404, "RESOURCE_NOT_FOUND")
        assert_problem(other.get(f"/v1/jobs/{job_id}/result"), 404, "RESOURCE_NOT_FOUND")
        assert_problem(other.get(f"/v1/jobs/{job_id}/events"), 404, "RESOURCE_NOT_FOUND")
        assert_problem(other.delete(f"/v1/jobs/{job_id}"), 404, "RESOURCE_NOT_FOUND")


class TestEvents:
    def events_of(self, stream: bytes) -> list[tuple[str, dict[str, Any]]]:
        """The ids and the data of the events of a stream."""
        blocks = [block for block in stream.decode().split("\n\n") if "data: " in block]
        lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
        assert {each["event"] for each in lines} <= {"progress"}
        return [(each["id"], json.loads(each["data"])) for each in lines]

    def test_of_a_job_that_has_ended_are_one(self, client: FlaskClient, submit: Submit):
        job_id = submit()

        answer = client.get(f"/v1/jobs/{job_id}/events")

        assert answer.mimetype == "text/event-stream"
        ((_, found),) = self.events_of(answer.data)
        JobObject.model_validate(found)
        assert found == client.get(f"/v1/jobs/{job_id}").get_json()
        assert found["result"] is not None

    def test_go_on_after_the_last_that_was_seen(self, client: FlaskClient, submit: Submit):
        path = f"/v1/jobs/{submit()}/events"
        ((last, _),) = self.events_of(client.get(path).data)

        nothing_new = client.get(path, headers={"Last-Event-ID": last})
        another = client.get(path, headers={"Last-Event-ID": "running-2-1-0"})

        assert (last, nothing_new.status_code, nothing_new.data) == ("succeeded-2-2-0", 204, b"")
        assert len(self.events_of(another.data)) == 1

    def test_follow_a_job_to_its_end(self, client: FlaskClient, submit: Submit, world: World):
        world.worker.asleep = True
        job_id = submit()

        with closing(client.get(f"/v1/jobs/{job_id}/events", buffered=False)) as answer:
            stream = answer.iter_encoded()
            first = next(stream) + next(stream)
            world.worker.asleep = False
            threading.Thread(target=world.worker.drain, args=("cpu.standard.tiny",)).start()
            rest = b"".join(stream)

        assert [data["status"] for _, data in self.events_of(first)] == ["queued"]
        assert self.events_of(rest)[-1][1]["status"] == "succeeded"

    def test_are_for_a_bounded_number_of_listeners_to_jobs_and_batches(
        self, make: Callable[..., World]
    ):
        client = make(api_threads=RESERVED_THREADS + 4).client()
        body = {"input": "a", "labels": ["x", "y"]}
        job_id = client.post("/v1/classify", json=body, headers=ASYNC).get_json()["id"]
        path = f"/v1/jobs/{job_id}/events"

        with closing(client.get(path, buffered=False)):
            assert_problem(client.get(path), 429, "RATE_CONCURRENCY_LIMIT_EXCEEDED")
        assert client.get(path).status_code == 200


class TestPlots:
    @pytest.fixture
    def evaluated(self, client: FlaskClient, train: Post, world: World) -> str:
        """A job that has judged a classifier."""
        record, version = world.services.classifiers.own(
            "acme", train().get_json()["classifier_id"]
        )
        examples = (Example(item=Item(text="x"), label="team1"),)
        job = world.services.submit.enqueue(
            EvaluateRequest(model="tiny", classifier=record.weights(version), examples=examples),
            caller=Caller(account="acme", key_id="k"),
            request_id="r",
            dialect="jina",
        )
        return job.id

    def test_the_job_holds_what_came_out(self, client: FlaskClient, evaluated: str):
        job = client.get(f"/v1/jobs/{evaluated}").get_json()

        JobObject.model_validate(job)
        EvaluateAnswer.model_validate(job["result"])
        assert job["kind"] == "evaluate"
        assert client.get(f"/v1/jobs/{evaluated}/result").get_json() == job["result"]

    @pytest.mark.parametrize(
        ("file", "media_type"),
        [("confusion_matrix.png", "image/png"), ("confusion_matrix.svg", "image/svg+xml")],
    )
    def test_are_served_as_what_they_are(
        self, client: FlaskClient, world: World, evaluated: str, file: str, media_type: str
    ):
        answer = client.get(f"/v1/jobs/{evaluated}/plots/{file}")

        assert answer.mimetype == media_type
        plot = world.store.get(object_keys.plot("acme", evaluated, file)).data
        assert answer.get_data() == plot

    @pytest.mark.parametrize("file", ["reliability.svg", "other.png", "x" * 300, "%2e%2e%2fx"])
    def test_others_are_not_found(
        self, client: FlaskClient, world: World, evaluated: str, file: str
    ):
        world.store.delete(object_keys.plot("acme", evaluated, "reliability.svg"))

        answer = client.get(f"/v1/jobs/{evaluated}/plots/{file}")

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")

    def test_are_not_for_others(self, world: World, evaluated: str):
        path = f"/v1/jobs/{evaluated}/plots/confusion_matrix.png"

        other = world.client(account="other").get(path)
        limited = world.client("train").get(path)

        assert_problem(other, 404, "RESOURCE_NOT_FOUND")
        assert_problem(limited, 403, "AUTHZ_SCOPE_NOT_ALLOWED")

    def test_of_another_kind_of_job_there_are_none(self, client: FlaskClient, submit: Submit):
        answer = client.get(f"/v1/jobs/{submit()}/plots/confusion_matrix.png")

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")


class TestOwnJobs:
    """A key without the scope `jobs` reads, follows and cancels what it submitted, and no more."""

    BODY: ClassVar = {"input": "a", "labels": ["x", "y"]}

    def submitted(self, client: FlaskClient) -> str:
        answer = client.post("/v1/classify", json=self.BODY, headers={"Prefer": "respond-async"})
        return str(answer.get_json()["id"])

    @pytest.mark.parametrize("path", ["", "/events", "/result"])
    def test_are_open_to_their_key(self, world: World, path: str):
        client = world.client("classify")
        job_id = self.submitted(client)

        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 200
        assert client.delete(f"/v1/jobs/{job_id}").status_code in {202, 409}

    @pytest.mark.parametrize("path", ["", "/events", "/result"])
    def test_are_closed_to_other_keys_without_the_scope(self, world: World, path: str):
        job_id = self.submitted(world.client("classify"))

        refused = world.client("classify").get(f"/v1/jobs/{job_id}{path}")
        allowed = world.client("jobs").get(f"/v1/jobs/{job_id}{path}")

        assert_problem(refused, 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert allowed.status_code == 200

    def test_are_listed_with_the_scope_only(self, world: World):
        assert_problem(world.client("classify").get("/v1/jobs"), 403, "AUTHZ_SCOPE_NOT_ALLOWED")


class TestCancelling:
    def test_ends_a_job_that_waits(self, client: FlaskClient, submit: Submit, world: World):
        world.worker.asleep = True
        job_id = submit()
        world.worker.asleep = False

        answer = client.delete(f"/v1/jobs/{job_id}")

        assert answer.status_code == 202
        assert answer.get_json()["status"] == "cancelling"
        assert client.get(f"/v1/jobs/{job_id}").get_json()["status"] == "cancelled"

    def test_of_a_cancelled_job_is_answered_with_the_job(
        self, client: FlaskClient, submit: Submit, world: World
    ):
        world.worker.asleep = True
        job_id = submit()
        world.worker.asleep = False
        client.delete(f"/v1/jobs/{job_id}")
        assert client.get(f"/v1/jobs/{job_id}").get_json()["status"] == "cancelled"

        again = client.delete(f"/v1/jobs/{job_id}")

        assert (again.status_code, again.get_json()["status"]) == (202, "cancelled")

    def test_a_job_that_has_ended_is_refused(self, client: FlaskClient, submit: Submit):
        answer = client.delete(f"/v1/jobs/{submit()}")

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="succeeded")

    def test_an_unknown_job(self, client: FlaskClient):
        assert_problem(client.delete(f"/v1/jobs/{UNKNOWN}"), 404, "RESOURCE_NOT_FOUND")


class TestListing:
    def test_is_newest_first_in_pages(self, client: FlaskClient, world: World, submit: Submit):
        made = {submit() for _ in range(5)}

        first = client.get("/v1/jobs?limit=3").get_json()
        second = client.get(f"/v1/jobs?limit=3&after={first['last_id']}").get_json()

        JobList.model_validate(first)
        listed = [job["id"] for job in first["data"] + second["data"]]
        assert listed == sorted(made)
        assert (first["has_more"], second["has_more"]) == (True, False)
        assert first["first_id"] == listed[0]
        assert first["data"][0]["result"] is None
        assert first["data"][0]["result_url"]

    def test_of_nothing_is_empty(self, client: FlaskClient):
        assert client.get("/v1/jobs").get_json() == {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }

    def test_holds_the_caller_s_jobs_alone(self, submit: Submit, world: World):
        submit()

        assert world.client(account="other").get("/v1/jobs").get_json()["data"] == []

    def test_goes_on_while_redis_is_away(self, client: FlaskClient, submit: Submit, world: World):
        submit()
        world.ledger.away = True

        assert client.get("/v1/jobs").get_json()["data"][0]["status"] == "succeeded"

    @pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "²", "9" * 5000])
    def test_of_a_wrong_limit_is_refused(self, client: FlaskClient, limit: str):
        answer = client.get("/v1/jobs", query_string={"limit": limit})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="limit")

    @pytest.mark.parametrize("after", ["", "x", "../x"])
    def test_after_what_is_no_job_is_refused(self, client: FlaskClient, after: str):
        answer = client.get("/v1/jobs", query_string={"after": after})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="after")
