from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.services.idempotency import IdempotencyRecord
from shared import ids
from shared.dialects.training import TrainAnswer
from shared.errors import Conflict, TokenLimitExceeded, WorkFailed
from shared.messages import queue_for
from shared.types import NewClassifier
from tests.api.conftest import EXAMPLES, World, make_world
from tests.problems import assert_problem
from tests.workers.inputs.test_compression import zstd

Train = Callable[..., TestResponse]
ASYNC = {"Prefer": "respond-async"}
KEY = {"Idempotency-Key": "one"}
NEW = {"text": "the server is away", "label": "team3"}
CSV = b'text,label\n"the printer,\nit burns",team1\nwhere is my invoice,team2\n'
JSONL = "\n".join(map(json.dumps, EXAMPLES)).encode()


def parquet(rows: list[dict[str, str]]) -> bytes:
    """A Parquet file of the rows."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


ACCENTS = "text,label\ncafé,team1\nnaïve,team2\n"
TABLES = {
    "windows-1252.csv": ACCENTS.encode("cp1252"),
    "utf-16.csv": ACCENTS.encode("utf-16"),
    "colon.csv": b"text:label\na, b; c:team1\nd, e; f:team2\n",
    "blanks.csv": b'text, label\n"a, b", "team1"\n"c", team2\n',
    "pandas.csv": b",text,label\n0,a,team1\n1,b,team2\n",
    "doubled.csv": b"note,text,label,note\n0,a,team1,0\n1,b,team2,0\n",
    "csv.gz": gzip.compress(CSV, mtime=0),
    "csv.zst": zstd.compress(CSV),
    "jsonl.gz": gzip.compress(JSONL, mtime=0),
    "parquet": parquet(EXAMPLES),
    "parquet.gz": gzip.compress(parquet(EXAMPLES), mtime=0),
}


def ids_of(world: World, account: str = "acme") -> list[str]:
    """The classifiers that an account has."""
    return [record.id for record in world.services.classifiers.records.all(account)]


class TestCreating:
    def test_answers_with_the_first_version(self, train: Train):
        answer = train(num_iters=5).get_json()

        TrainAnswer.model_validate(answer)
        assert ids.is_classifier_id(answer["classifier_id"])
        assert answer["num_samples"] == 2
        assert answer["usage"] == {"total_tokens": 9 * 5}
        assert answer["version"] == 1
        assert answer["labels"] == ["team1", "team2"]
        assert answer["metrics"]["learning_curve"][1] == {"examples": 1, "accuracy": 0.0}
        assert ids.is_job_id(answer["job_id"])

    def test_the_vendor_s_defaults_are_taken_but_for_access(self, train: Train, world: World):
        answer = train().get_json()

        record, _ = world.services.classifiers.own("acme", answer["classifier_id"])
        assert answer["usage"] == {"total_tokens": 9 * 10}
        assert record.latest.model == "tiny"
        assert (record.access, record.name, record.keep_examples) == ("private", None, False)

    def test_it_has_what_it_was_given(self, train: Train, world: World):
        said = {"name": "tickets", "description": "d", "access": "public", "keep_examples": True}

        answer = train(**said, model="toy").get_json()

        record, _ = world.services.classifiers.own("acme", "tickets")
        assert record.id == answer["classifier_id"]
        assert NewClassifier(**said) == NewClassifier.model_validate(record.model_dump())

    def test_it_runs_where_models_are_trained(self, train: Train, world: World):
        world.worker.asleep = True

        train(headers=ASYNC)

        assert world.ledger.waiting(queue_for("cpu", "train", "tiny")) == 1

    def test_a_missing_content_type_still_parses(self, client: FlaskClient):
        answer = client.post("/v1/train", data=json.dumps({"input": EXAMPLES}))

        assert answer.status_code == 200

    def test_remarks_say_what_to_do(self, train: Train):
        more = [{"text": f"the printer is broken {n} times", "label": "team1"} for n in range(2)]

        (remark,) = train(input=[*EXAMPLES, *more]).get_json()["remarks"]

        assert remark["message"] == "Label 'team2' has only 1 example: send more of it."

    @pytest.mark.parametrize(
        ("changes", "status", "code", "field"),
        [
            ({"model": "nope"}, 400, "INPUT_MODEL_NOT_FOUND", "model"),
            ({"model": ""}, 400, "INPUT_MODEL_NOT_FOUND", "model"),
            ({"input": EXAMPLES[:1]}, 400, "INPUT_INVALID_LABELS", "input"),
            ({"input": [EXAMPLES[0]] * 3}, 400, "INPUT_INVALID_LABELS", "input"),
            ({"input": []}, 422, "VALIDATION_ERROR", "input"),
            ({"input": None}, 422, "VALIDATION_ERROR", "input"),
            ({"num_iters": 0}, 422, "VALIDATION_ERROR", "num_iters"),
            ({"num_iters": 10_000}, 422, "VALIDATION_ERROR", "num_iters"),
            ({"name": "a b"}, 422, "VALIDATION_ERROR", "name"),
            ({"access": "shared"}, 422, "VALIDATION_ERROR", "access"),
            ({"classifier_id": "nope"}, 404, "RESOURCE_NOT_FOUND", None),
            ({"classifier_id": "no pe"}, 422, "VALIDATION_ERROR", "classifier_id"),
            ({"classifier_id": "x", "name": "y"}, 422, "VALIDATION_ERROR", "name"),
        ],
    )
    def test_refuses(
        self,
        train: Train,
        world: World,
        changes: dict,
        status: int,
        code: str,
        field: str | None,
    ):
        assert_problem(train(**changes), status, code, field=field)
        assert not list(world.store.list("open/"))
        assert ids_of(world) == []

    @pytest.mark.parametrize(
        ("example", "field"),
        [
            ({"text": "x", "label": " "}, "input[2].label"),
            ({"text": "x", "label": "y" * 257}, "input[2].label"),
            ({"text": "x"}, "input[2].label"),
            ({"text": " ", "label": "y"}, "input[2].text"),
            ({"text": "x", "label": "y", "num_iters": 0}, "input[2].num_iters"),
            ({"text": "x", "label": "y", "weight": 0}, "input[2].weight"),
            ({"text": "x", "label": "y", "weight": 1001}, "input[2].weight"),
            ({"text": "x", "label": "y", "weight": 1e-308}, "input[2].weight"),
            ({"image": "x", "label": "y"}, "input[2].image"),
        ],
    )
    def test_a_wrong_example_is_named(self, train: Train, example: dict, field: str):
        answer = train(input=[*EXAMPLES, example])

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)

    def test_the_range_of_num_iters_is_told(self, train: Train):
        assert_problem(train(num_iters=10_000), 422, "VALIDATION_ERROR", says="from 1 to 100")

    def test_a_name_that_is_taken_is_refused_at_once(self, train: Train, world: World):
        train(name="tickets")

        answer = train(name="tickets")

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", field="name")
        assert len(ids_of(world)) == 1

    def test_another_account_may_take_the_name(self, train: Train, world: World):
        train(name="tickets")

        answer = world.client(account="other").post(
            "/v1/train", json={"input": EXAMPLES, "name": "tickets"}
        )

        assert answer.status_code == 200

    def test_no_account_has_more_than_it_may(self, make: Callable[..., World]):
        world = make(max_classifiers=2)
        client = world.client()
        made = [client.post("/v1/train", json={"input": EXAMPLES}).get_json() for _ in range(2)]

        refused = client.post("/v1/train", json={"input": EXAMPLES})
        update = {"input": EXAMPLES, "classifier_id": made[0]["classifier_id"]}

        assert_problem(refused, 403, "AUTHZ_RESOURCE_LIMIT_EXCEEDED", says="2 classifiers")
        assert client.post("/v1/train", json=update).status_code == 200

    def test_what_is_left_of_a_deleted_one_counts_for_nothing(self, make: Callable[..., World]):
        world = make(max_classifiers=1)
        world.store.put("classifiers/acme/x/used.json", b"{}")

        answer = world.client().post("/v1/train", json={"input": EXAMPLES})

        assert answer.status_code == 200


class TestUpdating:
    @pytest.fixture
    def classifier_id(self, train: Train) -> str:
        made: str = train(name="tickets").get_json()["classifier_id"]
        return made

    def test_adds_a_version_and_labels(self, train: Train, classifier_id: str):
        answer = train(classifier_id=classifier_id, input=NEW, num_iters=3).get_json()

        assert answer["classifier_id"] == classifier_id
        assert answer["version"] == 2
        assert answer["num_samples"] == 1
        assert answer["labels"] == ["team1", "team2", "team3"]
        assert answer["usage"] == {"total_tokens": 4 * 3}

    def test_one_label_will_do(self, train: Train, classifier_id: str):
        assert train(classifier_id="tickets", input=EXAMPLES[:1]).get_json()["version"] == 2

    @pytest.mark.parametrize("ref", ["tickets", "tickets@v2", "tickets@best"])
    def test_a_reference_may_name_the_latest_version(
        self, train: Train, world: World, classifier_id: str, ref: str
    ):
        train(classifier_id=classifier_id)
        world.services.classifiers.records.change(
            "acme", classifier_id, lambda now: now.model_copy(update={"aliases": {"best": 2}})
        )

        assert train(classifier_id=ref).get_json()["version"] == 3

    @pytest.mark.parametrize("ref", ["tickets@v1", "tickets@best"])
    def test_an_older_version_is_not_trained(
        self, train: Train, world: World, classifier_id: str, ref: str
    ):
        train(classifier_id=classifier_id)
        world.services.classifiers.records.change(
            "acme", classifier_id, lambda now: now.model_copy(update={"aliases": {"best": 1}})
        )

        answer = train(classifier_id=ref)

        assert_problem(
            answer, 422, "VALIDATION_ERROR", field="classifier_id", says="roll back first"
        )

    @pytest.mark.parametrize("ref", ["tickets@v7", "tickets@nobody"])
    def test_an_unknown_version_is_not_found(self, train: Train, classifier_id: str, ref: str):
        assert_problem(train(classifier_id=ref), 404, "RESOURCE_NOT_FOUND")

    def test_the_same_model_may_be_named(self, train: Train, classifier_id: str):
        assert train(classifier_id="tickets", model="toy").status_code == 200

    def test_another_model_is_refused(self, train: Train, classifier_id: str):
        answer = train(classifier_id="tickets", model="absent")

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", field="model", says="with tiny")

    @pytest.mark.parametrize("access", ["private", "public"])
    def test_is_of_the_caller_s_own_alone(self, train: Train, world: World, access: str):
        made = train(access=access).get_json()["classifier_id"]

        answer = world.client(account="other").post(
            "/v1/train", json={"input": EXAMPLES, "classifier_id": made}
        )

        assert_problem(answer, 404, "RESOURCE_NOT_FOUND")


class TestFromAFile:
    @pytest.mark.parametrize(("name", "data"), [("x.csv", CSV), ("x.jsonl", JSONL), ("x", JSONL)])
    def test_a_form_has_the_file_and_the_fields(
        self, client: FlaskClient, world: World, name: str, data: bytes
    ):
        form = {"file": (io.BytesIO(data), name), "name": "tickets", "num_iters": "3", "model": ""}

        answer = client.post("/v1/train", data=form, content_type="multipart/form-data")

        assert answer.get_json()["num_samples"] == 2
        assert answer.get_json()["usage"]["total_tokens"] % 3 == 0
        assert world.services.classifiers.own("acme", "tickets")[0].labels == ("team1", "team2")

    def test_an_update_by_a_file(self, client: FlaskClient, train: Train):
        train(name="tickets")
        form = {"file": (io.BytesIO(CSV), "x.csv"), "classifier_id": "tickets"}

        answer = client.post("/v1/train", data=form, content_type="multipart/form-data")

        assert answer.get_json()["version"] == 2

    @pytest.mark.parametrize(
        ("content_type", "data"),
        [("text/csv", CSV), ("application/jsonl", JSONL), ("application/x-ndjson", JSONL)],
    )
    def test_a_bare_file_has_the_fields_in_the_query(
        self, client: FlaskClient, world: World, content_type: str, data: bytes
    ):
        answer = client.post(
            "/v1/train?name=tickets&keep_examples=true", data=data, content_type=content_type
        )

        assert answer.status_code == 200
        assert world.services.classifiers.own("acme", "tickets")[0].keep_examples

    def test_broken_lines_are_named(self, client: FlaskClient):
        data = b"text,label\none,team1\n,team2\ntwo\n"

        answer = client.post("/v1/train", data=data, content_type="text/csv")

        body = assert_problem(answer, 422, "VALIDATION_ERROR", field="file line 3.text")
        assert body["errors"][1]["field"] == "file line 4"
        assert body["errors"][1]["message"] == "has 1 field, but the header has 2"

    def test_all_that_is_wrong_is_named_at_once(self, client: FlaskClient):
        rows = [
            *('{"text": "one", "label": "team1"}', "{", '{"text": "two", "label": "team2"}'),
            *('{"text": "x"}', '{"text": "x", "label": " "}'),
            '{"text": "x", "label": "team1", "num_iters": 10000}',
            '{"text": "", "label": "team1", "weight": 5000}',
        ]
        data = "\n".join(rows).encode()

        answer = client.post("/v1/train", data=data, content_type="application/jsonl")

        body = assert_problem(answer, 422, "VALIDATION_ERROR", says="and 4 more")
        assert [error["field"] for error in body["errors"]] == [
            *("file line 2", "file line 4.label", "file line 5.label"),
            *("file line 6.num_iters", "file line 7.text"),
        ]

    def test_no_more_faults_are_named_than_a_reader_reads(self, client: FlaskClient):
        data = b"text,label\n" + b"x,\n" * 100

        answer = client.post("/v1/train", data=data, content_type="text/csv")

        assert len(assert_problem(answer, 422, "VALIDATION_ERROR")["errors"]) == 20

    def test_a_text_that_is_too_long_has_its_own_code(self, make: Callable[..., World]):
        client = make(max_input_tokens=1).client()
        data = b"text,label\n" + b"x" * 100 + b",team1\ny,team2\n"

        alone = client.post("/v1/train", data=data, content_type="text/csv")
        among = client.post("/v1/train", data=data + b"z,\n", content_type="text/csv")

        assert_problem(alone, 400, TokenLimitExceeded.code, field="file line 2")
        assert_problem(among, 422, "VALIDATION_ERROR", field="file line 4.label")

    @pytest.mark.parametrize("name", [f"x.{each}" for each in sorted(TABLES)])
    @pytest.mark.parametrize("path", ["/v1/train", "/v1/classifiers/tickets/evaluate"])
    def test_what_batches_read_is_read(
        self, client: FlaskClient, train: Train, name: str, path: str
    ):
        train(name="tickets")
        form = {"file": (io.BytesIO(TABLES[name[2:]]), name)}

        answer = client.post(path, data=form, content_type="multipart/form-data")

        assert answer.status_code == 200, answer.get_json()
        assert answer.get_json()["num_samples"] == 2

    @pytest.mark.parametrize(
        "content_type", ["application/gzip", "application/vnd.apache.parquet", "text/csv"]
    )
    def test_a_bare_file_of_any_kind_is_read(self, client: FlaskClient, content_type: str):
        data = TABLES["csv.gz" if content_type == "application/gzip" else "parquet"]

        answer = client.post("/v1/train", data=data, content_type=content_type)

        assert answer.get_json()["num_samples"] == 2

    def test_a_file_is_read_as_the_fields_say(self, client: FlaskClient):
        data = "Extract\ntext:label\né:team1\nö:team2\n".encode("mac_roman")
        said = "?skip_rows=1&encoding=mac_roman&delimiter=:&input_format=csv&keep_examples=true"

        answer = client.post(f"/v1/train{said}", data=data, content_type="text/csv")

        assert answer.get_json()["num_samples"] == 2

    @pytest.mark.parametrize("prefer", [None, "respond-async"])
    def test_nothing_stays_of_a_file(self, client: FlaskClient, world: World, prefer: str | None):
        headers = {"Prefer": prefer} if prefer else {}
        for data in (CSV, b"text,label\none\n", CSV):
            client.post("/v1/train", data=data, content_type="text/csv", headers=headers)
            client.post(
                "/v1/classifiers/none/evaluate",
                data=data,
                content_type="text/csv",
                headers=headers,
            )

        kept = [name for name in world.store.list("jobs/") if name.endswith("/upload")]
        assert kept == []

    def test_what_the_limits_refuse_is_named_by_its_line(self, client: FlaskClient):
        data = b'text,label\n"one,\ntwo",team1\n\nthree, \n'

        answer = client.post("/v1/train", data=data, content_type="text/csv")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="file line 5.label")

    def test_more_examples_than_allowed_are_refused_by_the_line(self, make: Callable[..., World]):
        client = make(max_examples=1).client()

        answer = client.post("/v1/train", data=CSV, content_type="text/csv")

        assert_problem(answer, 422, "VALIDATION_ERROR", field="file line 4", says="at most 1")

    @pytest.mark.parametrize(
        ("data", "content_type", "field"),
        [
            (b"", "text/csv", "file"),
            (b"a,b\n1,2\n", "text/csv", "text_column"),
            (b"--x--\r\n", "multipart/form-data; boundary=x", "file"),
            (b"--x", "multipart/form-data", "Content-Type"),
        ],
    )
    def test_refuses(self, client: FlaskClient, data: bytes, content_type: str, field: str):
        answer = client.post("/v1/train", data=data, content_type=content_type)

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)

    def test_is_bounded_like_any_body(self, client: FlaskClient):
        form = {"file": (io.BytesIO(b"x" * 70_000), "x.csv")}

        answer = client.post("/v1/train", data=form, content_type="multipart/form-data")

        assert_problem(answer, 413, "VALIDATION_ERROR", field="body")


class TestAsAJob:
    def test_answers_202_with_the_job(self, train: Train, client: FlaskClient):
        answer = train(headers=ASYNC)
        job = client.get(answer.headers["Location"]).get_json()

        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == "respond-async"
        assert job["kind"] == "train"
        assert job["progress"] == {"total": 2, "completed": 2, "failed": 0}
        assert job["usage"] == {"total_tokens": 90}
        TrainAnswer.model_validate(job["result"])
        assert job["result"]["job_id"] == job["id"]
        assert client.get(f"/v1/jobs/{job['id']}/result").get_json() == job["result"]

    def test_with_wait_answers_the_result_if_it_is_there(self, train: Train):
        answer = train(headers={"Prefer": "respond-async, wait=1"})

        assert answer.status_code == 200
        assert answer.get_json()["version"] == 1

    @pytest.mark.slow
    def test_that_takes_too_long_goes_on_and_says_where(
        self, train: Train, client: FlaskClient, world: World
    ):
        world.worker.asleep = True

        answer = train(headers={"Prefer": "wait=1"})
        world.worker.asleep = False
        world.worker.drain("cpu.train.tiny")

        assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
        assert answer.headers["Location"] == f"/v1/jobs/{answer.get_json()['id']}"
        assert answer.get_json()["kind"] == "train"
        job = client.get(answer.headers["Location"]).get_json()
        assert job["status"] == "succeeded"
        assert ids_of(world) == [job["result"]["classifier_id"]]

    def test_is_accepted_while_redis_is_away(self, train: Train, world: World):
        world.ledger.away = True

        answer = train(headers=ASYNC)

        assert answer.status_code == 202
        assert len(list(world.store.list("open/"))) == 1

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (TokenLimitExceeded("input[1]: has 9000 tokens"), 400, "INPUT_TOKEN_LIMIT_EXCEEDED"),
            (Conflict("name: you have another"), 409, "CONFLICT_RESOURCE_BUSY"),
            (WorkFailed("given up"), 500, "INTERNAL_ERROR"),
        ],
    )
    def test_what_the_worker_refuses_is_a_problem(
        self, train: Train, world: World, error: Exception, status: int, code: str
    ):
        world.worker.error = error

        assert_problem(train(), status, code)

    def test_that_was_cancelled_says_so(self, train: Train, client: FlaskClient, world: World):
        enrol = world.ledger.create_job

        def cancelled(job: object, *, parts: int) -> str | None:
            queue = enrol(job, parts=parts)
            client.delete(f"/v1/jobs/{job.id}")
            return queue

        world.ledger.create_job = cancelled

        assert_problem(train(), 409, "CONFLICT_RESOURCE_BUSY", says="the job is cancelled")

    def test_a_key_without_the_scope_may_not(self, world: World):
        answer = world.client("classify").post("/v1/train", json={"input": EXAMPLES})

        assert_problem(answer, 403, "AUTHZ_SCOPE_NOT_ALLOWED")
        assert world.client("train").post("/v1/train", json={"input": EXAMPLES}).status_code == 200


class TestIdempotency:
    def test_the_same_call_makes_one_classifier(self, train: Train, world: World):
        first = train(headers=KEY, name="tickets")
        second = train(headers=KEY, name="tickets")

        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.get_data() == first.get_data()
        assert len(ids_of(world)) == 1

    def test_the_same_update_makes_one_version(self, train: Train):
        train(name="tickets")

        answers = [train(headers=KEY, classifier_id="tickets@v1") for _ in range(2)]

        assert [answer.get_json()["version"] for answer in answers] == [2, 2]

    @pytest.mark.slow
    def test_after_a_202_the_same_call_waits_for_the_same_job(self, train: Train, world: World):
        world.worker.asleep = True
        late = train(headers={**KEY, "Prefer": "wait=1"}, name="tickets")
        world.worker.asleep = False
        world.worker.drain("cpu.train.tiny")

        answer = train(headers=KEY, name="tickets")

        assert late.status_code == 202
        assert answer.status_code == 200
        assert late.headers["Location"].endswith(answer.get_json()["job_id"])
        assert ids_of(world) == [answer.get_json()["classifier_id"]]

    def test_after_a_failure_the_same_call_is_tried_anew(self, train: Train, world: World):
        world.worker.error = WorkFailed("no")
        failed = train(headers=KEY)
        world.worker.error = None

        assert failed.status_code == 500
        assert train(headers=KEY).get_json()["version"] == 1
        assert len(ids_of(world)) == 1

    @pytest.mark.parametrize("said", [{"name": "tickets"}, {"classifier_id": "known@v1"}])
    def test_a_call_whose_first_process_died_makes_the_same_job(self, said: dict):
        now = [1_800_000_000.0]
        world = make_world(clock=lambda: now[0])
        client = world.client()
        client.post("/v1/train", json={"input": EXAMPLES, "name": "known"})
        sent = {"json": {"input": EXAMPLES, **said}, "headers": KEY}
        first = client.post("/v1/train", **sent)
        (use,) = world.store.list("idempotency/")
        kept = IdempotencyRecord.model_validate_json(world.store.get(use).data)
        died = kept.model_copy(update={"answer": None, "until": now[0] + 60})
        world.store.put(use, died.model_dump_json().encode())

        now[0] += 61
        again = client.post("/v1/train", **sent)

        assert again.get_data() == first.get_data()
        assert "Idempotent-Replayed" not in again.headers
        assert len(ids_of(world)) == (2 if "name" in said else 1)

    def test_a_form_is_the_same_whatever_its_boundary(self, client: FlaskClient):
        def send() -> TestResponse:
            form = {"file": (io.BytesIO(CSV), "x.csv")}
            return client.post(
                "/v1/train", data=form, content_type="multipart/form-data", headers=KEY
            )

        first, second = send(), send()

        assert first.status_code == 200
        assert second.headers["Idempotent-Replayed"] == "true"

    def test_another_query_is_another_call(self, client: FlaskClient):
        sent = {"data": CSV, "content_type": "text/csv", "headers": KEY}
        client.post("/v1/train?num_iters=1", **sent)

        answer = client.post("/v1/train?num_iters=2", **sent)

        assert_problem(answer, 422, "VALIDATION_ERROR", field="Idempotency-Key")


def test_spaces_around_a_label_are_none_of_it(train: Train):
    rows = [{"text": "a", "label": " x"}, {"text": "b", "label": "x "}, {"text": "c", "label": "y"}]

    assert train(input=rows).get_json()["labels"] == ["x", "y"]


def test_who_waits_is_told_at_once_that_no_worker_has_the_model(train: Train, world: World):
    answer = train(model="absent")

    assert_problem(answer, 503, "SERVICE_UNAVAILABLE")
    assert not list(world.store.list("open/"))
    assert train(ASYNC, model="absent").status_code == 202


class TestCandidates:
    @pytest.fixture(autouse=True)
    def _made(self, train: Train) -> None:
        train(name="tickets")

    def test_have_a_number_and_are_not_the_latest(self, train: Train, client: FlaskClient):
        answer = train(classifier_id="tickets", candidate=True).get_json()

        assert (answer["version"], answer["candidate"]) == (2, True)
        latest = client.get("/v1/classifiers/tickets").get_json()
        assert latest["version"] == 1
        assert [row["candidate"] for row in latest["versions"]] == [True, False]
        pinned = client.get("/v1/classifiers/tickets@v2").get_json()
        assert (pinned["version"], pinned["is_latest"]) == (2, False)

    def test_are_passed_over_by_the_next_version(self, train: Train):
        train(classifier_id="tickets", candidate=True)

        assert train(classifier_id="tickets@v1").get_json()["version"] == 3

    @pytest.mark.parametrize("ref", ["tickets@v1", "tickets@best"])
    def test_may_start_from_any_version(self, train: Train, client: FlaskClient, ref: str):
        client.patch("/v1/classifiers/tickets", json={"aliases": {"best": 1}})
        train(classifier_id="tickets")

        answer = train(**{"from": ref, "candidate": True}).get_json()

        assert answer["version"] == 3

    def test_need_a_classifier(self, train: Train):
        assert_problem(
            train(candidate=True), 422, "VALIDATION_ERROR", field="candidate", says="needs `from`"
        )

    def test_are_of_one_classifier(self, train: Train):
        train(name="other")

        answer = train(classifier_id="tickets", **{"from": "other@v1"})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="from", says="another classifier")

    def test_an_unknown_version_is_not_found(self, train: Train):
        assert_problem(train(**{"from": "tickets@v9"}), 404, "RESOURCE_NOT_FOUND")


class TestClosedLabels:
    JOY = ({"text": "great", "label": "joy"}, {"text": "oh no", "label": "sadness"})

    def test_refuse_a_label_that_is_not_in_the_list(self, train: Train):
        train(name="moods", input=list(self.JOY), closed_labels=True)

        answer = train(classifier_id="moods", input=[self.JOY[0], {"text": "x", "label": "Joy"}])

        assert_problem(
            answer, 422, "VALIDATION_ERROR", field="input[1].label", says="did you mean 'joy'?"
        )

    def test_may_be_opened(self, train: Train, client: FlaskClient):
        train(name="moods", input=list(self.JOY), closed_labels=True)
        client.patch("/v1/classifiers/moods", json={"closed_labels": False})

        assert train(classifier_id="moods", input=[{"text": "x", "label": "Joy"}]).get_json()[
            "labels"
        ] == ["joy", "sadness", "Joy"]


class TestStoredFiles:
    def test_may_be_learnt(self, client: FlaskClient, world: World):
        file = client.post(
            "/v1/files",
            data={"purpose": "batch", "file": (io.BytesIO(CSV), "rows.csv")},
        ).get_json()["id"]

        body = {"input_file_id": file, "name": "tickets"}
        answer = client.post("/v1/train", json=body)

        assert answer.get_json()["num_samples"] == 2
        assert client.get(f"/v1/files/{file}/content").data == CSV

    def test_may_lie_in_a_bucket(self, client: FlaskClient, world: World):
        world.services.buckets.objects["s3://inbox/rows/a.csv"] = CSV  # type: ignore[attr-defined]

        answer = client.post("/v1/train", json={"input_url": "s3://inbox/rows/a.csv"})

        assert answer.get_json()["num_samples"] == 2

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            ({"input_file_id": "file-0"}, "input_file_id"),
            ({"input_url": "s3://elsewhere/a.csv"}, "input_url"),
            ({"input_url": "s3://inbox/rows/none.csv"}, "input_url"),
            ({"input_url": "s3://inbox/rows/a.csv", "input_file_id": "file-0"}, "input_url"),
            ({"input_file_id": "file-0", "input": list(EXAMPLES)}, "input"),
        ],
    )
    def test_that_are_wrong_are_refused(
        self, client: FlaskClient, said: dict[str, Any], field: str
    ):
        assert_problem(client.post("/v1/train", json=said), 422, "VALIDATION_ERROR", field=field)
