"""/v1/batches, as the OpenAI API has it, and what is ours beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.schemas.job import JobList, JobObject
from api.schemas.openai.batch import BatchList, BatchObject
from api.services.hit_counter import used
from shared import ids, object_keys
from shared.batches import BadRow, BatchRequest, Plan
from shared.errors import WorkFailed
from shared.jobs import Expire, Finalise, Job, Lapse, Start, advance
from shared.member_reports import WorkerReport
from shared.messages import Submission, decode, encode
from shared.model_catalogue import AutoEntry, Catalogue, ModelEntry
from shared.ports import PLAN, Claim
from shared.validation import shown
from tests.api.conftest import World, make_world
from tests.classifiers import put_classifier
from tests.prefixed_ledger import PrefixedLedger
from tests.problems import assert_openai_error

UNKNOWN = ids.batch_id_of(ids.job_id(1, 1))
ROWS = b'{"id": "1", "text": "a"}\n{"id": "2"}\n{"id": "3", "text": "c"}\n'
ASK: dict[str, Any] = {"labels": ["x", "y"]}
NOW = datetime.fromtimestamp(1_000_000, UTC)


@pytest.fixture
def file(client: FlaskClient) -> str:
    """The id of a file of three rows; the second lacks its text."""
    return send_file(client)


def send_file(client: FlaskClient, data: bytes = ROWS) -> str:
    said = {"purpose": "batch", "file": (io.BytesIO(data), "rows.jsonl")}
    return str(client.post("/v1/files", data=said).get_json()["id"])


@pytest.fixture
def create(client: FlaskClient, file: str) -> Callable[..., TestResponse]:
    """Creates a batch of the file; `said` beside what is always said."""

    def create(headers: dict[str, str] | None = None, **said: Any) -> TestResponse:
        body = {
            "input_file_id": file,
            "endpoint": "/v1/classify",
            "completion_window": "24h",
            "classify": ASK,
            **said,
        }
        sent = {key: value for key, value in body.items() if value is not ...}
        return client.post("/v1/batches", json=sent, headers=headers)

    return create


Create = Callable[..., TestResponse]


@pytest.fixture
def asked(create: Create, world: World) -> Callable[..., BatchRequest]:
    """What the worker of a batch is asked for."""

    def asked(**said: Any) -> BatchRequest:
        answer = create(**said)
        assert answer.status_code == 200, answer.data
        job_id = ids.job_id_of(answer.get_json()["id"])
        body = decode(Submission, world.store.get(object_keys.request("acme", job_id)).data).body
        assert isinstance(body, BatchRequest)
        return body

    return asked


Asked = Callable[..., BatchRequest]


def get(client: FlaskClient, batch: str) -> dict[str, Any]:
    answer = client.get(f"/v1/batches/{batch}")
    assert answer.status_code == 200, answer.data
    found = answer.get_json()
    BatchObject.model_validate(found, strict=True)
    return dict(found)


class TestCreating:
    def test_answers_with_the_batch(self, create: Create, file: str, world: World):
        world.worker.asleep = True

        answer = create(metadata={"team": "a"})

        assert answer.status_code == 200
        batch = answer.get_json()
        BatchObject.model_validate(batch, strict=True)
        assert batch["id"].startswith("batch_")
        assert (batch["object"], batch["status"]) == ("batch", "validating")
        assert batch["input_file_id"] == file
        assert batch["metadata"] == {"team": "a"}
        assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
        assert batch["expires_at"] == batch["created_at"] + 86400
        assert batch["model"] == "tiny"

    @pytest.mark.parametrize("rows", [True, False])
    def test_of_the_default_model_auto_says_so_whatever_its_queue(self, rows: bool):
        names = ("tiny", "wide")
        auto = AutoEntry(english="tiny", multilingual="wide")
        entries = [ModelEntry(name=name, engine="hashing") for name in names]
        world = make_world(catalogue=Catalogue(entries, default="auto", auto=auto))
        both = WorkerReport(device="cpu", queues=(), models=names)
        world.ledger.report("worker", "both", encode(both), ttl_s=60)
        client = world.client()
        asked = {"classify": ASK} if rows else {}

        made = client.post(
            "/v1/batches", json={"input_file_id": send_file(client), **asked}
        ).get_json()

        assert made["model"] == "auto"
        assert get(client, made["id"])["model"] == "auto"
        assert client.get("/v1/batches").get_json()["data"][0]["model"] == "auto"

    def test_is_planned_by_a_worker_in_the_queue_for_bulk(self, create: Create, world: World):
        world.worker.asleep = True

        job_id = ids.job_id_of(create().get_json()["id"])

        claims = world.ledger.claim("control", None, calls=0, parts=9, lease_s=9).claims
        assert [(claim.job_id, claim.task) for claim in claims] == [(job_id, PLAN)]
        job = world.ledger.record(job_id)
        assert job is not None
        assert (job.queue, job.progress.total) == ("cpu.bulk.tiny", 0)

    def test_of_rows_asks_what_a_classify_request_would(self, asked: Asked):
        body = asked(
            classify={
                "model": "toy",
                "labels": {"mood": ["good", "bad"]},
                "descriptions": {"good": "happy"},
                "template": "a {label} text",
                "threshold": 0.2,
                "multi_label": True,
                "top_k": 1,
                "scores": "raw",
                "return_uncertainty": True,
            },
            id_column="id",
            text_column="text",
        )

        assert body.rows is not None
        ask = body.rows.ask
        assert (body.model, ask.model, ask.items) == ("tiny", "tiny", ())
        assert ask.questions[0].labels == ("good", "bad")
        assert (ask.template, ask.scores, ask.top_k) == ("a {label} text", "raw", 1)
        assert ask.threshold is not None
        assert ask.threshold.default == 0.2
        assert ask.multi_label
        assert ask.return_uncertainty
        assert (body.rows.id_column, body.rows.text_column) == ("id", "text")

    def test_of_rows_may_have_ids_of_several_columns(self, asked: Asked):
        body = asked(id_columns=["dt", "id"])

        assert body.rows is not None
        assert (body.rows.id_column, body.rows.id_columns) == (None, ("dt", "id"))

    def test_of_rows_takes_what_is_known_of_the_file(self, asked: Asked, file: str):
        body = asked(
            input_format="csv",
            delimiter="tab",
            encoding="cp1252",
            skip_rows=2,
            output_format="parquet",
        )

        source = body.source
        assert (source.object, source.filename) == (file, "rows.jsonl")
        assert (source.format, source.delimiter, source.encoding) == ("csv", "tab", "cp1252")
        assert source.skip_rows == 2
        assert body.output_format == "parquet"

    @pytest.mark.parametrize("key", ["classifier", "classifier_id"])
    def test_of_rows_may_ask_a_classifier(self, asked: Asked, world: World, key: str):
        record = put_classifier(world.store, name="spam")

        body = asked(classify={key: "spam"})

        assert body.rows is not None
        assert body.rows.ask.classifier == record.weights(record.latest)
        assert body.rows.ask.questions == ()
        world.services.uses.flush()
        assert used(world.store, record.account, record.id).number == 1

    def test_of_requests_leaves_the_lines_to_the_worker(self, asked: Asked):
        body = asked(classify=...)

        assert body.rows is None
        assert (body.model, body.source.format) == ("tiny", "jsonl")

    def test_chooses_what_the_files_will_be_called(self, asked: Asked):
        body = asked()

        assert ids.is_file_id(body.output_file)
        assert ids.is_file_id(body.error_file)
        assert body.output_file != body.error_file

    def test_keeps_the_files_as_long_as_is_asked(self, asked: Asked):
        said = {"anchor": "created_at", "seconds": 7200}

        assert asked(output_expires_after=said).output_keep_s == 7200
        assert asked().output_keep_s == 30 * 86400

    @pytest.mark.parametrize(("said", "seconds"), [("30m", 1800), ("1h", 3600), ("6d", 518400)])
    def test_ends_in_the_window_that_is_asked(
        self, create: Create, asked: Asked, said: str, seconds: int
    ):
        batch = create(completion_window=said).get_json()

        assert batch["completion_window"] == said
        assert batch["expires_at"] == pytest.approx(batch["created_at"] + seconds, abs=1)

    def test_of_train_requests_needs_the_right_to_train(self, world: World, file: str):
        said = {"input_file_id": file, "endpoint": "/v1/train"}

        refused = world.client("classify").post("/v1/batches", json=said)
        taken = world.client("classify", "train").post("/v1/batches", json=said)

        assert_openai_error(refused, 403)
        assert taken.status_code == 200, taken.data
        assert taken.get_json()["endpoint"] == "/v1/train"

    @pytest.mark.parametrize(
        ("said", "param"),
        [
            ({"input_file_id": ids.file_id(1, 1)}, "input_file_id"),
            ({"input_file_id": "../x"}, "input_file_id"),
            ({"input_file_id": 3}, "input_file_id"),
            ({"input_file_id": ...}, "input_file_id"),
            ({"endpoint": "/v1/chat/completions"}, "endpoint"),
            ({"completion_window": "tomorrow"}, "completion_window"),
            ({"completion_window": "0h"}, "completion_window"),
            ({"completion_window": "7d"}, "completion_window"),
            ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
            ({"metadata": {"k" * 65: ""}}, "metadata[" + "k" * 39 + "…]"),
            ({"metadata": {"k": "v" * 513}}, "metadata[k]"),
            ({"metadata": {"k": 1}}, "metadata[k]"),
            ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, None),
            ({"output_expires_after": {"anchor": "x", "seconds": 7200}}, None),
            ({"classify": {"labels": ["x"]}}, "classify.labels"),
            ({"classify": {"labels": ["x", " "]}}, "classify.labels[1]"),
            ({"classify": {"labels": ["x", "y"], "top_k": 0}}, "classify.top_k"),
            ({"classify": {"labels": ["x", "y"], "model": "z"}}, None),
            ({"classify": {"labels": ["x", "y"], "input": "a"}}, "classify.input"),
            ({"classify": {"label": ["x", "y"]}}, "classify.label"),
            ({"classify": {}}, "classify.labels"),
            ({"classify": {"classifier": "a", "classifier_id": "b"}}, "classify.classifier"),
            ({"classify": []}, "classify"),
            ({"classify": ..., "text_column": "t"}, "text_column"),
            ({"endpoint": "/v1/train"}, "classify"),
            ({"classify": ..., "output_format": "csv"}, "output_format"),
            ({"csv_formulas": "escape"}, "csv_formulas"),
            ({"csv_formulas": "escape", "output_format": "parquet"}, "csv_formulas"),
            ({"csv_formulas": "drop", "output_format": "csv"}, "csv_formulas"),
            ({"csv_delimiter": "||", "output_format": "csv"}, "csv_delimiter"),
            ({"csv_decimal": ";", "output_format": "csv"}, "csv_decimal"),
            ({"csv_bom": True}, "csv_bom"),
            ({"text_column": ""}, "text_column"),
            ({"id_columns": []}, "id_columns"),
            ({"id_columns": "id"}, "id_columns"),
            ({"id_columns": ["a", ""]}, "id_columns[1]"),
            ({"id_columns": ["a", 7]}, "id_columns[1]"),
            ({"id_columns": ["a", "b", "a"]}, "id_columns[2]"),
            ({"id_columns": [str(n) for n in range(17)]}, "id_columns"),
            ({"id_columns": ["a"], "id_column": "b"}, "id_columns"),
            ({"classify": ..., "id_columns": ["a"]}, "id_columns"),
            ({"input_format": "xlsx"}, "input_format"),
            ({"encoding": "nope"}, "encoding"),
            ({"encoding": "hex"}, "encoding"),
            ({"encoding": "cp037"}, "encoding"),
            ({"encoding": "a\0b"}, "encoding"),
            ({"delimiter": ";;"}, "delimiter"),
            ({"delimiter": '"'}, "delimiter"),
            ({"delimiter": "tabs"}, "delimiter"),
            ({"skip_rows": -1}, "skip_rows"),
            ({"skip_rows": 1001}, "skip_rows"),
            ({"skip_rows": "1"}, "skip_rows"),
            ({"classify": ..., "skip_rows": 1}, "skip_rows"),
            ({"text_colum": "t"}, "text_colum"),
        ],
    )
    def test_refuses_what_is_wrong_and_says_where(
        self, create: Create, world: World, said: dict[str, Any], param: str | None
    ):
        fault = assert_openai_error(create(**said), 400, param=param)

        assert fault["type"] == "invalid_request_error"
        assert not list(world.store.list(object_keys.OPEN))

    @pytest.mark.parametrize("name", ["dryrun", "Dry_run", "limit", "x" * 300])
    def test_refuses_a_parameter_that_it_does_not_have(
        self, client: FlaskClient, file: str, name: str
    ):
        body = {"input_file_id": file, "classify": ASK}

        answer = client.post(f"/v1/batches?dry_run=true&{name}=true", json=body)

        assert_openai_error(answer, 400, param=shown(name), says="dry_run")
        assert client.get("/v1/batches").get_json()["data"] == []

    def test_refuses_a_classifier_that_is_not_there(self, create: Create):
        assert_openai_error(create(classify={"classifier": "nope"}), 404)

    def test_refuses_a_file_that_is_no_input(self, create: Create, client: FlaskClient):
        made = get(client, create().get_json()["id"])["output_file_id"]

        answer = create(input_file_id=made)

        assert_openai_error(answer, 400, param="input_file_id", says="batch_output")

    def test_refuses_the_file_of_another_account(self, world: World, file: str):
        answer = world.client(account="other").post("/v1/batches", json={"input_file_id": file})

        assert_openai_error(answer, 400, param="input_file_id")

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"'])
    def test_refuses_what_is_no_object(self, client: FlaskClient, data: bytes):
        assert_openai_error(client.post("/v1/batches", data=data), 400, param="body")

    def test_sent_twice_with_one_key_is_one_batch(
        self, create: Create, client: FlaskClient, world: World
    ):
        first = create(headers={"Idempotency-Key": "k"})
        again = create(headers={"Idempotency-Key": "k"})
        other = create(headers={"Idempotency-Key": "k"}, metadata={"a": "b"})

        assert again.get_json() == first.get_json()
        assert again.headers["Idempotent-Replayed"] == "true"
        assert_openai_error(other, 422, param="Idempotency-Key")
        assert len(client.get("/v1/batches").get_json()["data"]) == 1

    def test_a_replay_shows_the_batch_as_it_stands(
        self, create: Create, client: FlaskClient, world: World
    ):
        world.worker.asleep = True
        headers = {"Idempotency-Key": "k"}
        batch = create(headers=headers).get_json()["id"]
        client.post(f"/v1/batches/{batch}/cancel")

        again = create(headers=headers)

        assert (again.get_json()["id"], again.get_json()["status"]) == (batch, "cancelling")

    def test_is_accepted_while_redis_is_away(
        self, create: Create, client: FlaskClient, world: World
    ):
        world.ledger.away = True

        batch = create().get_json()

        assert get(client, batch["id"])["status"] == "validating"


class TestOne:
    def test_that_ended_names_its_files(self, create: Create, client: FlaskClient):
        batch = get(client, create().get_json()["id"])

        assert (batch["status"], batch["progress"]["phase"]) == ("completed", "ended")
        assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        assert batch["completed_at"] is not None
        assert batch["in_progress_at"] is not None
        assert batch["errors"]["data"] == [
            {
                "code": "missing_column",
                "message": "is missing; there are: 'id'",
                "param": "text",
                "line": 2,
            }
        ]
        assert batch["summary"] == {
            "most_frequent_error": "missing_column",
            "count": 1,
            "retryable": 0,
        }
        assert batch["usage"]["total_tokens"] == batch["usage"]["input_tokens"] > 0
        assert batch["format"] == "JSONL, UTF-8"
        output = client.get(f"/v1/files/{batch['output_file_id']}/content").data
        assert [json.loads(line)["id"] for line in output.splitlines()] == ["1", "3"]
        made = client.get("/v1/files?purpose=batch_output").get_json()["data"]
        assert {f["id"] for f in made} == {batch["output_file_id"], batch["error_file_id"]}

    def test_that_ended_cannot_be_cancelled(self, create: Create, client: FlaskClient):
        answer = client.post(f"/v1/batches/{create().get_json()['id']}/cancel")

        assert_openai_error(answer, 409, says="the batch is completed")

    def test_of_which_all_lines_failed_has_no_output(self, create: Create, client: FlaskClient):
        batch = get(client, create(text_column="nope").get_json()["id"])

        assert batch["status"] == "completed"
        assert batch["output_file_id"] is None
        assert batch["error_file_id"] is not None
        assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
        assert batch["summary"]["count"] == 3

    def test_of_which_no_line_failed_has_no_errors(self, client: FlaskClient):
        body = {"input_file_id": send_file(client, b'{"text": "a"}\n'), "classify": ASK}

        batch = get(client, client.post("/v1/batches", json=body).get_json()["id"])

        assert batch["error_file_id"] is None
        assert batch["errors"] is None
        assert batch["summary"] is None

    def test_whose_file_cannot_be_read_says_why(self, client: FlaskClient):
        body = {"input_file_id": send_file(client, b""), "classify": ASK}

        batch = get(client, client.post("/v1/batches", json=body).get_json()["id"])

        assert batch["status"] == "failed"
        assert batch["failed_at"] is not None
        assert batch["in_progress_at"] is None
        assert batch["errors"]["data"] == [
            {
                "code": "validation_error",
                "message": "file: holds no rows; send one row at least",
                "param": None,
                "line": None,
            }
        ]

    def test_that_failed_says_why(self, create: Create, client: FlaskClient, world: World):
        world.worker.error = WorkFailed("given up")

        batch = get(client, create().get_json()["id"])

        assert batch["status"] == "failed"
        assert batch["errors"]["data"][0]["message"] == "given up"
        assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)

    def test_of_another_account_or_none_is_unknown(
        self, create: Create, client: FlaskClient, world: World
    ):
        batch = create().get_json()["id"]
        other = world.client(account="other")

        for path in ("", "/events", "/output"):
            assert_openai_error(other.get(f"/v1/batches/{batch}{path}"), 404)
            assert_openai_error(client.get(f"/v1/batches/{UNKNOWN}{path}"), 404)
            assert_openai_error(client.get(f"/v1/batches/{ids.job_id_of(batch)}{path}"), 404)
        assert_openai_error(other.post(f"/v1/batches/{batch}/cancel"), 404)
        assert_openai_error(client.post(f"/v1/batches/{UNKNOWN}/cancel"), 404)

    def test_that_is_another_job_is_unknown(self, client: FlaskClient, post: Callable):
        job = post(headers={"Prefer": "respond-async"}).get_json()["id"]

        assert_openai_error(client.get(f"/v1/batches/{ids.batch_id_of(job)}"), 404)
        assert_openai_error(client.post(f"/v1/batches/{ids.batch_id_of(job)}/cancel"), 404)

    def test_is_a_job_too(self, create: Create, client: FlaskClient):
        batch = get(client, create().get_json()["id"])
        job_id = ids.job_id_of(batch["id"])

        job = client.get(f"/v1/jobs/{job_id}").get_json()
        listed = client.get("/v1/jobs").get_json()

        JobObject.model_validate(job)
        JobList.model_validate(listed)
        assert (job["kind"], job["status"]) == ("batch", "succeeded")
        assert job["progress"] == batch["request_counts"]
        assert job["result"]["batch_id"] == batch["id"]
        assert job["result"]["output_file_id"] == batch["output_file_id"]
        assert client.get(f"/v1/jobs/{job_id}/result").get_json() == job["result"]
        assert [each["id"] for each in listed["data"]] == [job_id]


class TestGoingOn:
    """A batch whose worker is played by the test, at a time that the test sets."""

    @pytest.fixture
    def clock(self) -> list[float]:
        return [NOW.timestamp()]

    @pytest.fixture
    def world(self, clock: list[float]) -> World:
        return make_world(clock=lambda: clock[0])

    @pytest.fixture
    def batch(self, create: Create, world: World) -> str:
        world.worker.asleep = True
        return str(create().get_json()["id"])

    def job(self, world: World, batch: str) -> Job:
        found = world.ledger.record(ids.job_id_of(batch))
        assert found is not None
        return found

    def move(self, world: World, batch: str, event: Any) -> None:
        job = self.job(world, batch)
        assert world.ledger.replace(job, advance(job, event, NOW))

    def plan(self, world: World, batch: str) -> None:
        """Plan ten parts of ten rows, two of which are done."""
        self.move(world, batch, Start())
        bad = BadRow(line=7, code="empty_text", message="is empty", param="text")
        plan = Plan(format="CSV", total=100, bad_count=1, bad=(bad,), rows_per_part=10)
        world.store.put(object_keys.plan("acme", ids.job_id_of(batch)), encode(plan))
        (claim,) = world.ledger.claim("control", None, calls=0, parts=1, lease_s=9).claims
        world.ledger.add_parts(claim, first=0, parts=10, last=True, low=0, cost=10)
        world.ledger.complete(claim, lease_s=9)
        claims = self.claims(world, 2)
        world.ledger.let_pass(1.0)  # in which they classify ten rows each
        for claim in claims:
            world.ledger.complete(claim, lease_s=9, completed=9, failed=1)

    def claims(self, world: World, count: int) -> tuple[Claim, ...]:
        return world.ledger.claim("cpu.bulk.tiny", None, calls=0, parts=count, lease_s=9).claims

    def test_is_validated_first(self, client: FlaskClient, batch: str, world: World):
        waits = get(client, batch)
        self.move(world, batch, Start())
        begun = get(client, batch)

        assert (waits["status"], waits["progress"]["phase"]) == ("validating", "waiting")
        assert (begun["status"], begun["progress"]["phase"]) == ("validating", "validating")
        assert begun["in_progress_at"] is None

    def test_counts_rows_and_says_how_long_it_takes(
        self, client: FlaskClient, batch: str, world: World, clock: list[float]
    ):
        self.plan(world, batch)
        clock[0] += 4

        found = get(client, batch)

        assert found["status"] == "in_progress"
        assert found["in_progress_at"] == int(NOW.timestamp())
        assert found["request_counts"] == {"total": 100, "completed": 18, "failed": 2}
        assert found["progress"]["phase"] == "classifying"
        assert found["progress"]["rate_per_s"] > 0
        assert found["progress"]["waiting_for"] is None
        assert found["errors"]["data"][0]["line"] == 7
        assert found["output_file_id"] is None
        assert found["usage"] is None

    def test_tells_the_time_left_by_the_speed_of_late_not_since_the_start(
        self, file: str, clock: list[float]
    ):
        world = make_world(clock=lambda: clock[0], ledger=PrefixedLedger(clock=lambda: clock[0]))
        world.worker.asleep = True
        client = world.client()
        file = send_file(client)
        body = {"input_file_id": file, "classify": ASK}
        batch = str(client.post("/v1/batches", json=body).get_json()["id"])
        self.move(world, batch, Start())
        plan = Plan(format="CSV", total=3000, bad_count=0, rows_per_part=10)
        world.store.put(object_keys.plan("acme", ids.job_id_of(batch)), encode(plan))
        (claim,) = world.ledger.claim("control", None, calls=0, parts=1, lease_s=9).claims
        clock[0] += 60  # the file was read that long
        world.ledger.add_parts(claim, first=0, parts=300, last=True, low=0, cost=10)
        world.ledger.complete(claim, lease_s=9)

        def rows(parts: int, part_s: float) -> dict[str, Any]:
            for _ in range(parts):
                (part,) = self.claims(world, 1)
                clock[0] += part_s
                world.ledger.complete(part, lease_s=9, completed=10)
            return dict(get(client, batch)["progress"])

        slow, fast = rows(20, 2.0), rows(100, 0.2)
        clock[0] += 1.5  # between two parts nothing changes, however often it is asked
        again = [get(client, batch)["progress"] for _ in range(3)]
        clock[0] += 3600
        stalled = get(client, batch)["progress"]
        resumed = rows(30, 0.5)

        assert (slow["rate_per_s"], slow["seconds_left"]) == (5.0, 560.0)
        assert (fast["rate_per_s"], fast["seconds_left"]) == (50.0, 36.0)
        assert again == [fast] * 3
        assert (stalled["rate_per_s"], stalled["seconds_left"]) == (0.0, None)
        assert resumed["rate_per_s"] == 20.0

    def test_says_that_it_waits_while_no_worker_has_its_model(
        self, client: FlaskClient, batch: str, world: World
    ):
        other = WorkerReport(device="cpu", queues=(), models=("other",))
        world.ledger.report("worker", "tiny", encode(other), ttl_s=60)
        planned_by_none = get(client, batch)
        self.plan(world, batch)

        found = get(client, batch)

        wanted = "a worker with the model tiny; none is running"
        assert planned_by_none["progress"]["waiting_for"] == wanted
        assert (found["status"], found["progress"]["waiting_for"]) == ("in_progress", wanted)
        mine = WorkerReport(device="cpu", queues=(), models=("tiny",))
        world.ledger.report("worker", "tiny", encode(mine), ttl_s=60)
        assert get(client, batch)["progress"]["waiting_for"] is None
        world.ledger.report("worker", "tiny", b"", ttl_s=0)
        assert get(client, batch)["progress"]["waiting_for"] == wanted
        self.move(world, batch, Finalise())
        assert get(client, batch)["progress"]["waiting_for"] is None

    def test_puts_its_files_together(self, client: FlaskClient, batch: str, world: World):
        self.plan(world, batch)
        self.move(world, batch, Finalise())

        found = get(client, batch)

        assert (found["status"], found["progress"]["phase"]) == ("finalizing", "finalizing")
        cancelled = client.post(f"/v1/batches/{batch}/cancel")
        assert_openai_error(cancelled, 409, says="the batch is finalizing")

    def test_expires(self, client: FlaskClient, batch: str, world: World):
        self.plan(world, batch)
        self.move(world, batch, Expire())

        found = get(client, batch)

        assert found["status"] == "expired"
        assert found["expired_at"] == int(NOW.timestamp())

    def test_whose_window_is_over_is_finalizing_while_a_worker_puts_it_together(
        self, client: FlaskClient, batch: str, world: World, clock: list[float]
    ):
        self.plan(world, batch)
        clock[0] += 86_401
        noticed_not_yet = get(client, batch)
        self.move(world, batch, Lapse())

        found = get(client, batch)

        assert noticed_not_yet["status"] == "in_progress"
        assert (found["status"], found["progress"]["phase"]) == ("finalizing", "finalizing")
        assert found["finalizing_at"] is not None
        assert (found["expired_at"], found["output_file_id"]) == (None, None)
        assert_openai_error(client.post(f"/v1/batches/{batch}/cancel"), 409)
        assert_openai_error(client.post(f"/v1/batches/{batch}/retry"), 409)

    @pytest.mark.parametrize("noticed", [True, False])
    def test_whose_window_is_over_has_expired_where_no_worker_lives(
        self, client: FlaskClient, batch: str, world: World, clock: list[float], noticed: bool
    ):
        self.plan(world, batch)
        world.ledger.report("worker", "tiny", b"", ttl_s=0)
        before = get(client, batch)
        clock[0] += 86_401
        if noticed:
            self.move(world, batch, Lapse())

        found = get(client, batch)

        assert before["status"] == "in_progress"
        assert found["status"] == "expired"
        assert found["expired_at"] == found["expires_at"]
        assert found["request_counts"]["completed"] == 18

    def test_says_when_its_end_began(
        self, client: FlaskClient, batch: str, world: World, clock: list[float]
    ):
        client.post(f"/v1/batches/{batch}/cancel")
        began = get(client, batch)
        clock[0] += 50
        world.worker.asleep = False
        world.worker.drain("control")

        ended = get(client, batch)

        assert (began["cancelling_at"], began["cancelled_at"]) == (int(NOW.timestamp()), None)
        assert ended["cancelling_at"] == began["cancelling_at"]
        assert ended["cancelled_at"] is not None
        assert ended["finalizing_at"] is None

    def test_that_is_finalizing_says_since_when(
        self, client: FlaskClient, batch: str, world: World
    ):
        self.plan(world, batch)
        assert get(client, batch)["finalizing_at"] is None
        self.move(world, batch, Finalise())

        assert get(client, batch)["finalizing_at"] == int(NOW.timestamp())

    def test_is_cancelled(self, client: FlaskClient, batch: str, world: World):
        answer = client.post(f"/v1/batches/{batch}/cancel")
        world.worker.asleep = False
        world.worker.drain("control")

        assert answer.status_code == 200
        assert answer.get_json()["status"] == "cancelling"
        found = get(client, batch)
        assert found["status"] == "cancelled"
        assert found["cancelled_at"] is not None
        again = client.post(f"/v1/batches/{batch}/cancel")
        assert (again.status_code, again.get_json()["status"]) == (200, "cancelled")

    def test_is_cancelling_until_its_parts_have_stopped(
        self, client: FlaskClient, batch: str, world: World
    ):
        self.plan(world, batch)

        client.post(f"/v1/batches/{batch}/cancel")

        found = get(client, batch)
        assert found["status"] == "cancelling"
        assert found["request_counts"]["completed"] == 18

    def test_is_known_while_redis_is_away(self, client: FlaskClient, batch: str, world: World):
        world.ledger.away = True

        assert get(client, batch)["status"] == "validating"


class TestListing:
    def test_is_newest_first_in_pages_and_of_batches_alone(
        self, create: Create, client: FlaskClient, post: Callable
    ):
        made = []
        for _ in range(5):
            made.append(create().get_json()["id"])
            post(headers={"Prefer": "respond-async"})

        first = client.get("/v1/batches?limit=3").get_json()
        second = client.get(f"/v1/batches?limit=3&after={first['last_id']}").get_json()

        BatchList.model_validate(first, strict=True)
        listed = [batch["id"] for batch in first["data"] + second["data"]]
        assert listed == sorted(made)
        assert (first["has_more"], second["has_more"]) == (True, False)

    def test_of_a_page_that_is_just_full_has_no_more(
        self, create: Create, client: FlaskClient, post: Callable
    ):
        create()
        post(headers={"Prefer": "respond-async"})

        assert client.get("/v1/batches?limit=1").get_json()["has_more"] is False

    def test_does_not_look_at_other_jobs(
        self, create: Create, client: FlaskClient, post: Callable, world: World
    ):
        made = {create().get_json()["id"] for _ in range(2)}
        for _ in range(3):
            post(headers={"Prefer": "respond-async"})
        read: list[str] = []
        get, records = world.store.get, world.ledger.records
        world.store.get = lambda name: read.append(name) or get(name)  # type: ignore[method-assign]
        world.ledger.records = lambda wanted: read.extend(wanted) or records(wanted)  # type: ignore[method-assign]

        listed = client.get("/v1/batches").get_json()["data"]

        assert {each["id"] for each in listed} == made
        asked = {part for name in read for part in name.split("/") if part.startswith("job_")}
        assert asked == {ids.job_id_of(each) for each in made}

    def test_leaves_out_what_was_never_wholly_accepted(
        self, create: Create, client: FlaskClient, world: World
    ):
        batch = create().get_json()["id"]
        world.store.put(object_keys.batch("acme", ids.job_id(1, 1)), b"")

        listed = client.get("/v1/batches").get_json()["data"]

        assert [each["id"] for each in listed] == [batch]

    def test_looks_through_many_other_jobs(self, create: Create, client: FlaskClient, post: Any):
        batch = create().get_json()["id"]
        for _ in range(120):
            post(headers={"Prefer": "respond-async"})

        listed = client.get("/v1/batches").get_json()["data"]

        assert [each["id"] for each in listed] == [batch]

    def test_holds_the_caller_s_batches_alone(self, create: Create, world: World):
        create()

        assert world.client(account="other").get("/v1/batches").get_json()["data"] == []

    @pytest.mark.parametrize(
        ("query", "param"),
        [("limit=0", "limit"), ("limit=101", "limit"), ("after=job_x", "after")],
    )
    def test_of_a_wrong_page_is_refused(self, client: FlaskClient, query: str, param: str):
        assert_openai_error(client.get(f"/v1/batches?{query}"), 400, param=param)


def test_every_error_has_the_body_of_the_openai_api(world: World, client: FlaskClient):
    nobody = world.app.test_client()

    assert_openai_error(nobody.post("/v1/batches", json={}), 401)
    assert_openai_error(world.client("train").get("/v1/batches"), 403)
    assert_openai_error(client.get("/v1/batches/x/y/z"), 404)
    assert_openai_error(client.patch("/v1/batches"), 405)
    assert_openai_error(client.post("/v1/batches", data=b"x" * 70_000), 413)
    world.store.away = True
    assert_openai_error(client.get("/v1/batches"), 503)
