"""`metadata` of jobs of every kind, and lists of jobs and batches by metadata, status and kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.job import JobObject
from api.services import jobs
from shared import ids
from shared.jobs import Job
from shared.messages import decode, encode
from tests.api.conftest import EXAMPLES, World
from tests.api.test_batches import ASK, send_file
from tests.classifiers import put_classifier
from tests.problems import assert_openai_error, assert_problem

LATER = {"Prefer": "respond-async"}
TEAM = {"team": "support"}
CSV = b"text,label\nthe printer is on fire,team1\nwhere is my invoice,team2\n"


def listed(client: FlaskClient, query: str = "", path: str = "/v1/jobs") -> list[str]:
    answer = client.get(f"{path}{query}")
    assert answer.status_code == 200, answer.data
    return [each["id"] for each in answer.get_json()["data"]]


def classify(client: FlaskClient, **more: Any) -> str:
    body = {"input": ["a"], "labels": ["x", "y"], **more}
    return str(client.post("/v1/classify", json=body, headers=LATER).get_json()["id"])


def batch(client: FlaskClient, data: bytes = b'{"text": "a"}\n', **more: Any) -> str:
    body = {"input_file_id": send_file(client, data), "classify": ASK, **more}
    return str(client.post("/v1/batches", json=body).get_json()["id"])


class TestMetadata:
    def test_is_kept_with_jobs_of_every_kind(self, client: FlaskClient, world: World):
        put_classifier(world.store, name="kept", versions=2, keep_examples=True)
        train = client.post(
            "/v1/train",
            json={"input": EXAMPLES, "name": "desk", "metadata": TEAM},
        )
        assert train.status_code == 200, train.data
        made = [classify(client, metadata=TEAM), train.get_json()["job_id"]]
        calls: list[tuple[str, dict[str, Any]]] = [
            ("/v1/classifiers/desk/evaluate", {"json": {"input": EXAMPLES, "metadata": TEAM}}),
            ("/v1/classifiers/kept/rebuild", {"json": {"model": "tiny", "metadata": TEAM}}),
            ("/v1/train?metadata=" + json.dumps(TEAM), {"data": CSV, "content_type": "text/csv"}),
            (
                "/v1/classifiers/desk/evaluate?metadata=" + json.dumps(TEAM),
                {"data": CSV, "content_type": "text/csv"},
            ),
            (
                "/v1/classifiers/import?metadata=" + json.dumps(TEAM),
                {"data": client.get("/v1/classifiers/desk/export").data},
            ),
            (
                "/v1/batches?dry_run=true",
                {
                    "json": {
                        "input_file_id": send_file(client, b'{"text": "a"}\n'),
                        "classify": ASK,
                        "metadata": TEAM,
                    }
                },
            ),
        ]
        for path, sent in calls:
            answer = client.post(path, headers=LATER, **sent)
            assert answer.status_code in {200, 202}, (path, answer.data)
            made.append(answer.headers["Location"].rpartition("/")[2])
        made.append(ids.job_id_of(batch(client, metadata=TEAM)))

        kinds = set()
        for job_id in made:
            job = client.get(f"/v1/jobs/{job_id}").get_json()
            JobObject.model_validate_json(json.dumps(job))
            assert job["metadata"] == TEAM, job["kind"]
            kinds.add(job["kind"])
        assert kinds == {"classify", "train", "rebuild", "import", "evaluate", "batch", "dry_run"}
        assert set(listed(client, "?metadata[team]=support")) == set(made)

    def test_is_null_where_none_was_given(self, client: FlaskClient):
        assert client.get(f"/v1/jobs/{classify(client)}").get_json()["metadata"] is None

    @pytest.mark.parametrize(
        "metadata",
        [
            {"k" * 65: "v"},
            {"k": "v" * 513},
            {str(n): "v" for n in range(17)},
            {"k": 1},
            {"k": None},
            ["k"],
            "no json",
        ],
    )
    def test_beyond_its_bounds_is_refused(self, client: FlaskClient, metadata: Any):
        body = {"input": ["a"], "labels": ["x", "y"], "metadata": metadata}

        problem = assert_problem(client.post("/v1/classify", json=body), 422, "VALIDATION_ERROR")

        assert problem["errors"][0]["field"].startswith("metadata")
        refused = {"input_file_id": "file-x", "classify": ASK, "metadata": metadata}
        assert_openai_error(client.post("/v1/batches", json=refused), 400)

    def test_as_large_as_it_may_be_is_kept(self, client: FlaskClient):
        most = {f"{n:064d}": "v" * 512 for n in range(16)}

        job = client.get(f"/v1/jobs/{classify(client, metadata=most)}").get_json()

        assert job["metadata"] == most

    def test_of_a_job_without_any_leaves_its_record_as_older_versions_wrote_it(
        self, client: FlaskClient, world: World
    ):
        job = world.ledger.record(classify(client))
        assert job is not None

        assert "metadata" not in json.loads(encode(job))
        tagged = job.model_copy(update={"metadata": TEAM})
        assert decode(Job, encode(tagged)).metadata == TEAM


class TestJobs:
    def test_are_listed_by_kind_status_and_metadata(self, client: FlaskClient, world: World):
        plain = classify(client)
        tagged = classify(client, metadata={**TEAM, "run": "7"})
        train = client.post("/v1/train", json={"input": EXAMPLES}).get_json()["job_id"]
        world.worker.asleep = True
        waiting = classify(client, metadata=TEAM)

        assert set(listed(client, "?kind=classify")) == {plain, tagged, waiting}
        assert listed(client, "?kind=train") == [train]
        assert listed(client, "?status=queued") == [waiting]
        assert set(listed(client, "?status=succeeded&kind=classify")) == {plain, tagged}
        assert set(listed(client, "?metadata[team]=support")) == {tagged, waiting}
        assert listed(client, "?metadata[team]=support&metadata[run]=7") == [tagged]
        assert listed(client, "?metadata=" + json.dumps({"run": "7"})) == [tagged]
        assert listed(client, "?metadata[team]=sales") == []

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("status=done", "status: must be one of queued, running"),
            ("kind=", "kind: must be one of classify, train"),
            ("metadata=support", "metadata: must be a JSON object"),
            ('metadata={"a":1}', "metadata"),
            ('metadata={"a":"1"}&metadata[a]=2', "metadata: names a key twice"),
            ("metadata[" + "k" * 65 + "]=v", "metadata: a key may have 64"),
            ("metadata[a]=1&metadata[a]=2", "stands twice"),
            ("metadata(a)=1", "is no query parameter"),
            ("status[a]=1", "is no query parameter"),
        ],
    )
    def test_filters_that_say_nothing_are_refused(self, client: FlaskClient, query: str, says: str):
        problem = assert_problem(client.get(f"/v1/jobs?{query}"), 422, "VALIDATION_ERROR")

        assert says in problem["detail"]

    def test_pages_with_filters_have_each_job_once(self, client: FlaskClient):
        wanted = [
            classify(client, metadata=TEAM if n % 3 == 0 else {"team": "other"}) for n in range(20)
        ][::3]

        found: list[str] = []
        after = ""
        while True:
            page = client.get(f"/v1/jobs?limit=2&metadata[team]=support{after}").get_json()
            found += [job["id"] for job in page["data"]]
            after = f"&after={page['last_id']}"
            if not page["has_more"]:
                break

        assert sorted(found) == sorted(wanted)
        assert found == sorted(found)

    def test_a_page_of_a_rare_filter_is_not_empty_while_there_are_more(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(jobs, "MAX_LOOKED_AT", 2)
        wanted = classify(client, metadata=TEAM)
        for _ in range(7):
            classify(client)

        page = client.get("/v1/jobs?metadata[team]=support").get_json()

        assert [job["id"] for job in page["data"]] == [wanted]

    def test_the_look_for_the_first_job_of_a_page_has_an_end(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(jobs, "MAX_LOOKED_AT", 2)
        monkeypatch.setattr(jobs, "MAX_LOOK_S", -1.0)
        wanted = classify(client, metadata=TEAM)
        for _ in range(7):
            classify(client)

        pages, after, found = 0, "", []
        while True:
            page = client.get(f"/v1/jobs?metadata[team]=support{after}").get_json()
            pages += 1
            found += [job["id"] for job in page["data"]]
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"

        assert (found, pages) == ([wanted], 4)


class TestBatches:
    def test_are_listed_by_status_and_metadata(self, client: FlaskClient, world: World):
        done, failed = batch(client, metadata=TEAM), batch(client, b"", metadata=TEAM)
        plain = batch(client)
        world.worker.asleep = True
        waiting = batch(client)

        def found(query: str) -> list[str]:
            return listed(client, query, "/v1/batches")

        assert set(found("?status=completed")) == {done, plain}
        assert found("?status=failed") == [failed]
        assert found("?status=validating") == [waiting]
        assert found("?status=completed&metadata[team]=support") == [done]
        assert set(found("?kind=batch")) == {done, failed, plain, waiting}
        assert set(listed(client, "?kind=batch")) == {
            ids.job_id_of(each) for each in (done, failed, plain, waiting)
        }

    def test_that_no_worker_ends_are_listed_as_what_they_are_shown_as(
        self, client: FlaskClient, world: World
    ):
        world.worker.asleep = True
        waiting = batch(client)
        client.post(f"/v1/batches/{waiting}/cancel")

        assert listed(client, "?status=cancelling", "/v1/batches") == [waiting]
        assert listed(client, "?status=validating", "/v1/batches") == []

    def test_pages_go_on_after_batches(self, client: FlaskClient):
        made = [batch(client, metadata=TEAM if n % 2 else {}) for n in range(6)]

        first = client.get("/v1/batches?limit=2&metadata[team]=support").get_json()
        rest = client.get(
            f"/v1/batches?limit=2&metadata[team]=support&after={first['last_id']}"
        ).get_json()

        found = [each["id"] for each in first["data"] + rest["data"]]
        assert sorted(found) == sorted(made[1::2])
        assert (first["has_more"], rest["has_more"]) == (True, False)

    @pytest.mark.parametrize("query", ["status=succeeded", "kind=train", "metadata=x"])
    def test_filters_that_say_nothing_are_refused(self, client: FlaskClient, query: str):
        assert_openai_error(client.get(f"/v1/batches?{query}"), 400)
