from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.http.concurrency import RESERVED_THREADS
from api.services.hit_counter import used
from api.services.idempotency import IdempotencyRecord
from shared import object_keys
from shared.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PigeonholeError,
    TokenLimitExceeded,
    WorkFailed,
)
from shared.types import Priority
from tests.api.conftest import EXAMPLES, World, make_world
from tests.problems import assert_problem
from tests.waiting import wait_until

Post = Callable[..., TestResponse]
BODY = {"input": ["a", "b"], "labels": ["x", "y"]}


class TestSynchronous:
    def test_answers_in_the_main_dialect(self, post: Post):
        answer = post().get_json()

        assert [row["index"] for row in answer["data"]] == [0, 1]
        assert [p["label"] for p in answer["data"][0]["predictions"]] == ["x", "y"]
        assert answer["data"][0]["prediction"] in {"x", "y"}
        assert answer["usage"] == {"total_tokens": 4, "prompt_tokens": 4}

    def test_a_missing_or_odd_content_type_still_parses(self, client: FlaskClient):
        for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "multi/;;"):
            answer = client.post("/v1/classify", data=json.dumps(BODY), content_type=content_type)

            assert answer.status_code == 200, content_type

    def test_a_threshold_really_removes_labels(self, post: Post):
        row = post(input="a", threshold=2.0).get_json()["data"][0]

        assert row["prediction"] is None
        assert row["score"] is None
        assert row["predictions"] == []

    def test_top_k_keeps_the_order_of_the_request(self, post: Post):
        labels = list("zyxwv")
        row = post(input="a", labels=labels, top_k=3).get_json()["data"][0]

        kept = [p["label"] for p in row["predictions"]]
        assert len(kept) == 3
        assert kept == sorted(kept, key=labels.index)

    def test_the_default_model_is_used_where_none_is_named(self, post: Post, world: World):
        post()
        post(model=None)
        post(model="toy")

        assert [call.body.model for call in world.worker.calls] == ["tiny"] * 3

    def test_who_asks_for_it_goes_first(self, post: Post, world: World):
        post(priority="fast")
        post(priority=None)

        assert [call.priority for call in world.worker.calls] == [Priority.FAST, Priority.STANDARD]

    @pytest.mark.parametrize(
        ("changes", "status", "code", "field"),
        [
            ({"model": "nope"}, 400, "INPUT_MODEL_NOT_FOUND", "model"),
            ({"labels": ["x"]}, 400, "INPUT_INVALID_LABELS", "labels"),
            ({"labels": []}, 400, "INPUT_INVALID_LABELS", "labels"),
            ({"labels": ["x", "x"]}, 400, "INPUT_INVALID_LABELS", "labels"),
            ({"labels": {"g": ["x"]}}, 400, "INPUT_INVALID_LABELS", "labels[g]"),
            ({"labels": list(map(str, range(257)))}, 400, "INPUT_LABEL_LIMIT_EXCEEDED", "labels"),
            (
                {"labels": {str(i): ["x", "y"] for i in range(9)}},
                400,
                "INPUT_LABEL_LIMIT_EXCEEDED",
                "labels",
            ),
            ({"labels": None}, 422, "INPUT_LABELS_REQUIRED", "labels"),
            ({"classifier_id": "spam"}, 422, "VALIDATION_ERROR", "labels"),
            ({"classifier_id": "spam", "labels": None}, 404, "RESOURCE_NOT_FOUND", None),
            ({"classifier_id": "a b", "labels": None}, 422, "VALIDATION_ERROR", "classifier_id"),
            ({"input": []}, 422, "VALIDATION_ERROR", "input"),
            ({"input": ["a", " "]}, 422, "VALIDATION_ERROR", "input[1].text"),
            ({"input": ["a"] * 1025}, 422, "VALIDATION_ERROR", "input[1024]"),
            ({"input": [{"image": "x"}]}, 422, "VALIDATION_ERROR", "input[0].image"),
            ({"input": [{"image": []}]}, 422, "VALIDATION_ERROR", "input[0].image"),
            ({"model": "absent"}, 503, "SERVICE_UNAVAILABLE", None),
        ],
    )
    def test_refuses(self, post: Post, changes: dict, status: int, code: str, field: str | None):
        assert_problem(post(**changes), status, code, field=field)

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (TokenLimitExceeded("input[1]: has 9000 tokens"), 400, "INPUT_TOKEN_LIMIT_EXCEEDED"),
            (InvalidRequest("no"), 422, "VALIDATION_ERROR"),
            (DeadlineExceeded("late"), 504, "SERVICE_TIMEOUT"),
        ],
    )
    def test_what_the_worker_refuses_is_a_problem(
        self, post: Post, world: World, error: PigeonholeError, status: int, code: str
    ):
        world.worker.error = error

        assert_problem(post(), status, code, says=error.detail)

    def test_an_internal_error_shows_the_request_id_and_no_more(self, post: Post, world: World):
        world.worker.error = WorkFailed("a secret of the machine")

        body = assert_problem(post(), 500, "INTERNAL_ERROR")

        assert body["request_id"] in body["detail"]
        assert "secret" not in json.dumps(body)

    @pytest.mark.slow
    def test_no_answer_in_time_is_a_timeout(self, post: Post, world: World):
        world.worker.asleep = True

        assert_problem(post(headers={"Prefer": "wait=1"}), 504, "SERVICE_TIMEOUT", says="1 s")

    def test_wait_bounds_the_wait_and_says_so(self, post: Post):
        answer = post(headers={"Prefer": "wait=60"})

        assert answer.headers["Preference-Applied"] == "wait=1"

    def test_redis_away_is_a_problem(self, post: Post, world: World):
        world.ledger.away = True

        assert_problem(post(), 503, "SERVICE_UNAVAILABLE")

    @pytest.mark.slow
    def test_a_full_queue_is_refused(self, make: Callable[..., World]):
        world = make(max_queued_calls=1)
        world.worker.asleep = True
        client = world.client()

        client.post("/v1/classify", json=BODY, headers={"Prefer": "wait=1"})
        answer = client.post("/v1/classify", json=BODY, headers={"Prefer": "wait=1"})

        assert_problem(answer, 429, "RATE_CONCURRENCY_LIMIT_EXCEEDED")


class TestWithAClassifier:
    @pytest.fixture
    def classifier_id(self, train: Post) -> str:
        """A classifier of acme's called tickets, of two versions; the first is called best."""
        made: str = train(name="tickets").get_json()["classifier_id"]
        return made

    @pytest.fixture
    def two_versions(self, train: Post, world: World, classifier_id: str) -> None:
        train(classifier_id="tickets", input={"text": "x", "label": "team3"})
        world.services.classifiers.records.change(
            "acme", classifier_id, lambda now: now.model_copy(update={"aliases": {"best": 1}})
        )

    def test_answers_with_the_labels_that_it_learnt(self, post: Post, classifier_id: str):
        answer = post(classifier_id=classifier_id, labels=None).get_json()

        assert [p["label"] for p in answer["data"][1]["predictions"]] == ["team1", "team2"]
        assert answer["data"][0]["prediction"] in {"team1", "team2"}
        assert answer["usage"] == {"total_tokens": 2, "prompt_tokens": 2}

    @pytest.mark.usefixtures("two_versions")
    @pytest.mark.parametrize(
        ("ref", "labels"),
        [("tickets", 3), ("tickets@v1", 2), ("tickets@v2", 3), ("tickets@best", 2)],
    )
    def test_may_be_called_by_name_version_or_alias(self, post: Post, ref: str, labels: int):
        (row, _) = post(classifier_id=ref, labels=None).get_json()["data"]

        assert len(row["predictions"]) == labels

    def test_the_worker_is_told_the_version_and_its_model(
        self, post: Post, world: World, classifier_id: str
    ):
        post(classifier_id="tickets", labels=None, scores="raw", multi_label=True, top_k=1)

        body = world.worker.calls[-1].body
        assert body.model == "tiny"
        assert body.classifier is not None
        assert (body.classifier.classifier_id, body.classifier.version) == (classifier_id, 1)
        assert (body.scores, body.multi_label, body.top_k) == ("raw", True, 1)

    def test_a_threshold_may_be_of_a_label(self, post: Post, classifier_id: str):
        threshold = {"team1": 2.0, "default": 0.0}

        (row, _) = post(classifier_id="tickets", labels=None, threshold=threshold).get_json()[
            "data"
        ]

        assert [p["label"] for p in row["predictions"]] == ["team2"]

    def test_the_labels_are_read_only_where_a_threshold_is_of_one(
        self, post: Post, world: World, classifier_id: str
    ):
        record, version = world.services.classifiers.own("acme", "tickets")
        report = object_keys.report("acme", record.id, version.file)
        world.store.delete(report)

        plain = post(classifier_id="tickets", labels=None, threshold={"default": 0.5})
        of_one = post(classifier_id="tickets", labels=None, threshold={"team1": 0.5})

        assert plain.status_code == 200
        assert_problem(of_one, 404, "RESOURCE_NOT_FOUND")

    def test_the_model_may_be_named(self, post: Post, classifier_id: str):
        assert post(classifier_id="tickets", labels=None, model="toy").status_code == 200

    @pytest.mark.usefixtures("classifier_id")
    @pytest.mark.parametrize(
        ("changes", "status", "code", "field"),
        [
            ({"labels": ["x", "y"]}, 422, "VALIDATION_ERROR", "labels"),
            ({"template": "{label}"}, 422, "VALIDATION_ERROR", "template"),
            ({"descriptions": {}}, 422, "VALIDATION_ERROR", "descriptions"),
            ({"threshold": {"x": 0.5}}, 422, "VALIDATION_ERROR", "threshold[x]"),
            ({"model": "absent"}, 409, "CONFLICT_RESOURCE_BUSY", "model"),
            ({"model": "nope"}, 400, "INPUT_MODEL_NOT_FOUND", "model"),
            ({"classifier_id": "nope"}, 404, "RESOURCE_NOT_FOUND", None),
            ({"classifier_id": "tickets@v2"}, 404, "RESOURCE_NOT_FOUND", None),
            ({"classifier_id": "tickets@best"}, 404, "RESOURCE_NOT_FOUND", None),
            ({"classifier_id": ""}, 422, "VALIDATION_ERROR", "classifier_id"),
        ],
    )
    def test_refuses(self, post: Post, changes: dict, status: int, code: str, field: str | None):
        answer = post(**{"classifier_id": "tickets", "labels": None, **changes})

        assert_problem(answer, status, code, field=field)

    @pytest.mark.parametrize(
        ("access", "by", "status"),
        [("public", "id", 200), ("public", "name", 404), ("private", "id", 404)],
    )
    def test_another_account_may_use_a_public_one_by_its_id(
        self, train: Post, world: World, access: str, by: str, status: int
    ):
        made = train(name="faq", access=access).get_json()["classifier_id"]
        ref = made if by == "id" else "faq"

        answer = world.client(account="other").post(
            "/v1/classify", json={"input": "a", "classifier_id": ref}
        )

        assert answer.status_code == status

    def test_as_a_job_it_is_answered_alike(
        self, post: Post, client: FlaskClient, classifier_id: str
    ):
        said = {"classifier_id": "tickets", "labels": None, "return_uncertainty": True}

        job = post(headers={"Prefer": "respond-async"}, **said)
        waited = post(headers={"Prefer": "respond-async, wait=1"}, **said)

        result = client.get(job.headers["Location"]).get_json()["result"]
        assert result == waited.get_json() == post(**said).get_json()

    def test_its_use_is_counted_once_for_each_call(
        self, train: Post, post: Post, world: World, classifier_id: str
    ):
        public = train(access="public").get_json()["classifier_id"]
        post(classifier_id="tickets", labels=None)
        post(classifier_id="tickets", labels=None, headers={"Prefer": "respond-async"})
        world.client(account="other").post(
            "/v1/classify", json={"input": "a", "classifier_id": public}
        )
        post()

        world.services.uses.flush()

        assert used(world.store, "acme", classifier_id).number == 2
        assert used(world.store, "acme", public).number == 1
        assert used(world.store, "acme", public).at is not None


class TestUncertainty:
    def test_is_told_where_it_is_asked_for(self, post: Post):
        told = post(return_uncertainty=True).get_json()["data"]
        plain = post(return_uncertainty=None).get_json()["data"]

        for row in told:
            first, second = sorted((p["score"] for p in row["predictions"]), reverse=True)
            assert row["margin"] == pytest.approx(first - second, abs=1e-5)
            assert row["uncertain"] == (row["margin"] < 0.2)
        assert not {"margin", "uncertain"} & set(plain[0])

    def test_is_told_for_each_group(self, post: Post):
        labels = {"mood": ["good", "bad"], "topic": ["tea", "tin"]}

        (row, _) = post(labels=labels, return_uncertainty=True).get_json()["data"]

        assert set(row["margin"]) == set(row["uncertain"]) == {"mood", "topic"}


class TestSlots:
    @pytest.fixture
    def full(self, make: Callable[..., World]) -> Iterator[World]:
        """A world whose slots are all taken by calls that wait for the worker."""
        world = make(api_threads=24, request_timeout_s=60.0)
        world.worker.asleep = True
        client = world.client()
        threads = [
            threading.Thread(target=client.post, args=("/v1/classify",), kwargs={"json": BODY})
            for _ in range(24 - RESERVED_THREADS)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: world.ledger.waiting("cpu.standard.tiny") == len(threads))
        yield world
        world.worker.asleep = False
        world.worker.drain("cpu.standard.tiny")
        for thread in threads:
            thread.join()
        assert client.post("/v1/classify", json=BODY).status_code == 200

    def test_calls_that_train_take_the_same_slots(self, full: World):
        refused = full.client().post("/v1/train", json={"input": EXAMPLES})

        assert_problem(refused, 429, "RATE_CONCURRENCY_LIMIT_EXCEEDED", says="8 calls")

    def test_full_slots_are_refused_at_once_and_health_is_not(self, full: World):
        client = full.client()

        refused = client.post("/v1/classify", json=BODY)
        alive = client.get("/health/live")

        assert_problem(refused, 429, "RATE_CONCURRENCY_LIMIT_EXCEEDED", says="8 calls")
        assert alive.status_code == 200


class TestAsynchronous:
    def test_answers_202_with_the_job(self, post: Post, client: FlaskClient):
        answer = post(headers={"Prefer": "respond-async"})

        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == "respond-async"
        assert int(answer.headers["Retry-After"]) >= 1
        job = answer.get_json()
        assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
        assert job["object"] == "job"
        assert client.get(answer.headers["Location"]).get_json()["status"] == "succeeded"

    def test_with_wait_answers_the_result_if_it_is_there(self, post: Post):
        waited = post(headers={"Prefer": "respond-async, wait=1"})

        assert waited.status_code == 200
        assert waited.get_json() == post().get_json()
        assert waited.headers["Preference-Applied"] == "respond-async, wait=1"

    @pytest.mark.slow
    def test_with_wait_answers_202_if_it_is_not(self, post: Post, world: World):
        world.worker.asleep = True

        answer = post(headers={"Prefer": "respond-async, wait=1"})

        assert answer.status_code == 202
        assert answer.get_json()["status"] == "queued"

    def test_with_wait_a_failed_job_is_the_error_it_failed_of(self, post: Post, world: World):
        world.worker.error = TokenLimitExceeded("input[0]: has 9000 tokens")

        answer = post(headers={"Prefer": "respond-async, wait=1"})

        assert_problem(answer, 400, "INPUT_TOKEN_LIMIT_EXCEEDED")

    def test_is_accepted_while_redis_is_away(self, post: Post, world: World):
        world.ledger.away = True

        answer = post(headers={"Prefer": "respond-async, wait=1"})

        assert answer.status_code == 202
        assert answer.get_json()["status"] == "queued"

    def test_is_refused_while_the_store_is_away(self, make: Callable[..., World]):
        world = make()
        client = world.client()
        put = world.store.put

        def failing(*args: object, **kwargs: object) -> str:
            world.store.away = True
            return put(*args, **kwargs)

        world.store.put = failing

        answer = client.post("/v1/classify", json=BODY, headers={"Prefer": "respond-async"})

        assert_problem(answer, 503, "SERVICE_UNAVAILABLE")

    def test_is_checked_before_it_is_accepted(self, post: Post, world: World):
        answer = post(headers={"Prefer": "respond-async"}, labels=["x"])

        assert_problem(answer, 400, "INPUT_INVALID_LABELS")
        assert not list(world.store.list("open/"))

    @pytest.mark.slow
    def test_a_clock_that_is_set_back_makes_nobody_wait_longer(self):
        now = [1_800_000_000.0]
        world = make_world(clock=lambda: now[0])
        world.worker.asleep = True
        offer = world.ledger.enqueue_call

        def offered(*args: object, **kwargs: object) -> bool:
            now[0] -= 60
            return offer(*args, **kwargs)

        world.ledger.enqueue_call = offered
        began = time.monotonic()
        answer = world.client().post("/v1/classify", json=BODY)

        assert_problem(answer, 504, "SERVICE_TIMEOUT")
        assert time.monotonic() - began < 60


class TestIdempotency:
    def test_the_same_call_is_done_once_and_answered_twice(self, post: Post, world: World):
        first = post(headers={"Idempotency-Key": '"one"'})
        second = post(headers={"Idempotency-Key": "one"})

        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.get_data() == first.get_data()
        assert second.content_type == first.content_type
        assert len(world.worker.calls) == 1

    def test_a_job_is_made_once(self, post: Post, world: World):
        headers = {"Idempotency-Key": "one", "Prefer": "respond-async"}

        first, second = post(headers=headers), post(headers=headers)

        assert second.status_code == 202
        assert second.headers["Location"] == first.headers["Location"]
        assert len(list(world.store.children("jobs/acme/"))) == 1

    def test_a_replay_shows_the_job_as_it_stands(self, post: Post, client: FlaskClient):
        headers = {"Idempotency-Key": "one", "Prefer": "respond-async"}
        first = post(headers=headers)

        second = post(headers=headers)

        assert (first.status_code, second.status_code) == (202, 202)
        assert first.get_json()["status"] == "queued"
        assert second.get_json()["status"] == "succeeded"
        assert second.headers["Location"] == first.headers["Location"]

    @pytest.mark.parametrize("first", [b'{"input": "a", "labels": ["x", "y"]}'])
    @pytest.mark.parametrize("second", [b'{"labels":["x","y"],  "input":"a"}\n'])
    def test_blanks_and_the_order_of_keys_make_no_other_request(
        self, client: FlaskClient, world: World, first: bytes, second: bytes
    ):
        answers = [
            client.post("/v1/classify", data=data, headers={"Idempotency-Key": "one"})
            for data in (first, second)
        ]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert len(world.worker.calls) == 1

    def test_a_key_that_is_not_ascii_is_refused_for_that(self, post: Post):
        answer = post(headers={"Idempotency-Key": "größe"})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="Idempotency-Key", says="ASCII")

    def test_a_call_whose_first_process_died_after_acceptance_makes_the_same_job(self):
        now = [1_800_000_000.0]
        world = make_world(clock=lambda: now[0])
        headers = {"Idempotency-Key": "one", "Prefer": "respond-async"}
        client = world.client()
        first = client.post("/v1/classify", json=BODY, headers=headers)
        (use,) = world.store.list("idempotency/")
        kept = IdempotencyRecord.model_validate_json(world.store.get(use).data)
        died = kept.model_copy(update={"answer": None, "until": now[0] + 60})
        world.store.put(use, died.model_dump_json().encode())

        early = client.post("/v1/classify", json=BODY, headers=headers)
        now[0] += 61
        again = client.post("/v1/classify", json=BODY, headers=headers)

        assert_problem(early, 409, "CONFLICT_RESOURCE_BUSY")
        assert again.status_code == 202
        assert again.get_json()["id"] == first.get_json()["id"]
        assert len(list(world.store.children("jobs/acme/"))) == 1

    def test_another_payload_is_refused(self, post: Post):
        post(headers={"Idempotency-Key": "one"})

        answer = post(headers={"Idempotency-Key": "one"}, input="c")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="Idempotency-Key")

    def test_a_key_that_is_too_long_is_refused(self, post: Post):
        answer = post(headers={"Idempotency-Key": "x" * 256})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="Idempotency-Key")

    @pytest.mark.slow
    def test_of_two_at_once_one_is_refused(self, post: Post, world: World):
        world.worker.asleep = True
        inner: list[TestResponse] = []
        offer = world.ledger.enqueue_call

        def offered(*args: object, **kwargs: object) -> bool:
            inner.append(post(headers={"Idempotency-Key": "one"}))
            return offer(*args, **kwargs)

        world.ledger.enqueue_call = offered
        post(headers={"Idempotency-Key": "one", "Prefer": "wait=1"})

        assert_problem(inner[0], 409, "CONFLICT_RESOURCE_BUSY")

    def test_a_failure_that_invites_a_retry_frees_the_key(self, post: Post, world: World):
        world.worker.error = WorkFailed("no")
        assert_problem(post(headers={"Idempotency-Key": "one"}), 500, "INTERNAL_ERROR")
        world.worker.error = None

        answer = post(headers={"Idempotency-Key": "one"})

        assert answer.status_code == 200
        assert "Idempotent-Replayed" not in answer.headers

    def test_accounts_do_not_share_keys(self, post: Post, world: World):
        post(headers={"Idempotency-Key": "one"})

        answer = world.client(account="other").post(
            "/v1/classify", json=BODY, headers={"Idempotency-Key": "one"}
        )

        assert "Idempotent-Replayed" not in answer.headers
