"""/v1/classifiers/{ref}/retraining and …/feedback: settings, runs by hand, what is refused."""

from __future__ import annotations

import gzip
import io
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.schemas.feedback import FeedbackAccuracy, FeedbackList
from api.schemas.job import JobObject
from api.schemas.retraining import RetrainingObject
from api.schemas.run import RunList, RunObject
from api.services import retraining
from shared import retraining_keys
from shared.feedback_store import FeedbackStore
from shared.retraining import Decision, FeedbackItem, Run, RunProgress, run_id_of
from shared.retraining_store import RetrainingStore
from tests.api.conftest import World
from tests.classifiers import BEGAN, put_classifier
from tests.problems import assert_problem

PATH = "/v1/classifiers/spam/retraining"
SETTINGS = {
    "schedule": "0 2 * * *",
    "timezone": "Europe/Berlin",
    "sources": [{"feedback": True}, {"url": "s3://inbox/rows/labels/"}],
    "columns": {"id": "ticket"},
    "gate": {"metric": "f1", "label": "x"},
}


@pytest.fixture(autouse=True)
def classifier_id(world: World) -> str:
    return put_classifier(world.store, name="spam", versions=3).id


@pytest.fixture
def nightly(client: FlaskClient) -> dict[str, Any]:
    answer = client.put(PATH, json=SETTINGS)
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


def put_run(world: World, classifier_id: str, status: str, **said: Any) -> str:
    """A run of a job that has ended."""
    run = Run(
        id=run_id_of(f"job_{'0' * 25}{len(list(world.store.list('classifiers/'))) % 10}"),
        account="acme",
        classifier_id=classifier_id,
        job_id="job_0",
        status=status,  # type: ignore[arg-type]
        started_at=BEGAN,
        champion=3,
        decision=Decision(outcome="ask", reasons=("macro_f1 0.8 -> 0.9",)),
        **said,
    )
    RetrainingStore(store=world.store).put_run(run)
    return run.id


class TestSettings:
    def test_are_shown_with_the_next_tick(self, nightly: dict[str, Any], client: FlaskClient):
        RetrainingObject.model_validate(nightly)
        assert client.get(PATH).get_json() == nightly
        assert nightly["sources"] == SETTINGS["sources"]
        assert nightly["holdout"] == {"share": 0.2}
        assert nightly["gate"]["minimum_gain"] == 0.0
        assert nightly["next_run_at"] is not None
        assert nightly["active_run"] is None

    def test_change_one_by_one(self, nightly: dict[str, Any], client: FlaskClient, world: World):
        answer = client.patch(PATH, json={"enabled": False, "gate": {"minimum_gain": 0.01}})

        after = answer.get_json()
        assert (after["enabled"], after["next_run_at"]) == (False, None)
        assert after["gate"] == {**nightly["gate"], "minimum_gain": 0.01}
        assert after["timezone"] == "Europe/Berlin"

    def test_are_deleted_and_the_versions_stay(
        self, nightly: dict[str, Any], client: FlaskClient, world: World
    ):
        assert client.delete(PATH).status_code == 200

        assert_problem(client.get(PATH), 404, "RESOURCE_NOT_FOUND", says="has no retraining")
        assert client.get("/v1/classifiers/spam").get_json()["version"] == 3

    def test_take_one_more_source(self, nightly: dict[str, Any], client: FlaskClient):
        file = {"purpose": "batch", "file": (io.BytesIO(b"text,label\n"), "new.csv")}
        file_id = client.post("/v1/files", data=file).get_json()["id"]

        answer = client.post(f"{PATH}/sources", json={"file_id": file_id})

        assert answer.get_json()["sources"][-1] == {"file_id": file_id}

    @pytest.mark.parametrize(
        ("said", "field", "says"),
        [
            ({"schedule": "61 2 * * *"}, "schedule", "is not valid"),
            ({"timezone": "Mars/Base"}, "timezone", "is not a known time zone"),
            ({"gate": {"metric": "auc"}}, "gate.metric", "must be"),
            ({"gate": {"metric": "f1", "label": "z"}}, "gate.label", "is not a label"),
            ({"gate": {"metric": "f1"}}, "gate.label", "needs it"),
            ({"gate": {"metric": "cost", "costs": {"x": {"q": 1.0}}}}, "gate.costs[q]", "label"),
            (
                {"gate": {"metric": "cost", "costs": {"x": {"y": 1.0}, " x": {"y": 2.0}}}},
                "gate.costs[x]",
                "two spellings",
            ),
            (
                {"gate": {"metric": "cost", "costs": {"x": {"y": 1.0, "y\u200b": 2.0}}}},
                "gate.costs[x][y\u200b]",
                "two spellings",
            ),
            ({"gate": {"confidence": 2.0}}, "gate.confidence", "at most"),
            ({"sources": [{"url": "s3://elsewhere/a/"}]}, "sources[0].url", "allowed"),
            ({"sources": [{}]}, "sources[0]", "exactly one"),
            ({"sources": [{"file_id": "file-0"}]}, "sources[0].file_id", "no such file"),
            ({"method": "rebuild"}, "method", "keep_examples"),
            ({"model": "tiny"}, "model", "rebuild"),
            ({"holdout": {"share": 0.9}}, "holdout.share", "at most"),
            ({"holdout": {"share": 0.2, "url": "s3://inbox/rows/a"}}, "holdout", "exactly one"),
            ({"holdout": {"url": "s3://inbox/rows/none.csv"}}, "holdout.url", "does not exist"),
            ({"alias": "previous"}, "alias", "previous"),
            ({"alias": "Ü"}, "alias", "must be a name"),
            ({"minimum_new_examples": 0}, "minimum_new_examples", "at least 1"),
            ({"auto_rollback": {"metric": "macro_f1"}}, "auto_rollback.metric", "accuracy"),
            ({"auto_rollback": {"drop": 0}}, "auto_rollback.drop", "must be above 0"),
            ({"auto_rollback": {"window": 5}}, "auto_rollback.window", "at least 20"),
            ({"auto_rollback": {"windows": 50}}, "auto_rollback.windows", "unknown field"),
            ({"shedule": "0 2 * * *"}, "shedule", "unknown field"),
        ],
    )
    def test_that_would_fail_at_night_are_refused_now(
        self, client: FlaskClient, said: dict[str, Any], field: str, says: str
    ):
        answer = client.put(PATH, json={**said})

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field, says=says)
        assert client.get(PATH).status_code == 404

    @pytest.mark.parametrize(
        "data",
        [
            "text,label\na,x\n".encode("utf-16"),
            "text,label\na,x\n".encode("utf-32-le"),
            gzip.compress(b"text,label\na,x\n"),
            b'{"text": "a", "\\u006cabel": "x"}\n',
        ],
        ids=["utf-16", "utf-32", "gzip", "escaped"],
    )
    def test_leave_a_holdout_in_any_form_that_training_reads_to_the_run(
        self, client: FlaskClient, data: bytes
    ):
        form = {"purpose": "batch", "file": (io.BytesIO(data), "holdout")}
        file_id = client.post("/v1/files", data=form).get_json()["id"]

        answer = client.put(PATH, json={**SETTINGS, "holdout": {"file_id": file_id}})

        assert answer.status_code == 200, answer.get_json()

    def test_refuse_a_holdout_without_labels(self, client: FlaskClient):
        file = {"purpose": "batch", "file": (io.BytesIO(b"text,kind\na,x\n"), "held.csv")}
        file_id = client.post("/v1/files", data=file).get_json()["id"]

        answer = client.put(PATH, json={"holdout": {"file_id": file_id}})

        assert_problem(
            answer, 422, "VALIDATION_ERROR", field="holdout.file_id", says="no column 'label'"
        )
        named = {"holdout": {"file_id": file_id}, "columns": {"label": "kind"}}
        assert client.put(PATH, json=named).status_code == 200

    def test_are_of_the_whole_classifier(self, client: FlaskClient):
        answer = client.put("/v1/classifiers/spam@v1/retraining", json={})

        assert_problem(answer, 422, "VALIDATION_ERROR", field="classifier_id")


class TestRuns:
    def test_start_by_hand_as_a_job(
        self, nightly: dict[str, Any], client: FlaskClient, world: World
    ):
        world.worker.asleep = True

        answer = client.post(f"{PATH}/runs", json={"dry_run": True})

        job = answer.get_json()
        JobObject.model_validate(job)
        assert (answer.status_code, job["kind"]) == (202, "retrain")
        assert answer.headers["Location"].endswith(job["id"])
        assert client.get(PATH).get_json()["active_run"] == run_id_of(job["id"])
        again = client.post(f"{PATH}/runs")
        assert_problem(again, 409, "CONFLICT_RESOURCE_BUSY", says="has not ended")
        assert_problem(client.delete(PATH), 409, "CONFLICT_RESOURCE_BUSY", says="has not ended")

    def test_show_their_phase_and_progress_in_the_job_and_its_events(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        world.worker.asleep = True
        job_id = client.post(f"{PATH}/runs").get_json()["id"]
        assert client.get(f"/v1/jobs/{job_id}").get_json()["phase"] is None
        records = RetrainingStore(store=world.store)

        def goes_on(status: str, completed: int) -> None:
            run = Run(
                id=run_id_of(job_id),
                account="acme",
                classifier_id=classifier_id,
                job_id=job_id,
                status=status,  # type: ignore[arg-type]
                started_at=BEGAN,
                progress=RunProgress(total=60, completed=completed),
            )
            records.put_run(run)

        goes_on("collecting", 20)
        with closing(client.get(f"/v1/jobs/{job_id}/events", buffered=False)) as answer:
            events = iter(answer.response)
            first = b"".join(islice(events, 2))
            goes_on("training", 60)
            second = next(events)

        assert b'"phase":"collecting","progress":{"total":60,"completed":20,"failed":0}' in first
        assert b'"phase":"training","progress":{"total":60,"completed":60,"failed":0}' in second
        job = client.get(f"/v1/jobs/{job_id}").get_json()
        JobObject.model_validate(job)
        assert (job["phase"], job["progress"]["completed"]) == ("training", 60)

    def test_are_listed_newest_first(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        run_id = put_run(world, classifier_id, "rejected")

        listed = client.get(f"{PATH}/runs").get_json()

        RunList.model_validate(listed)
        assert [run["id"] for run in listed["data"]] == [run_id]
        one = client.get(f"{PATH}/runs/{run_id}").get_json()
        RunObject.model_validate(one)
        assert one["versions"]["champion"] == f"{classifier_id}@v3"
        missing = client.get(f"{PATH}/runs/run_{'0' * 26}")
        assert_problem(missing, 404, "RESOURCE_NOT_FOUND", says="no such run")

    def test_whose_job_is_gone_have_failed(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        run_id = put_run(world, classifier_id, "training")

        assert client.get(f"{PATH}/runs/{run_id}").get_json()["status"] == "failed"

    def test_that_wait_are_promoted_or_rejected(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        run_id = put_run(world, classifier_id, "waiting", challenger=2)

        answer = client.post(f"{PATH}/runs/{run_id}/promote")

        assert answer.get_json()["status"] == "promoted"
        assert client.get("/v1/classifiers/spam").get_json()["aliases"] == {
            "champion": 2,
            "previous": 3,
        }
        again = client.post(f"{PATH}/runs/{run_id}/reject")
        assert_problem(again, 409, "CONFLICT_RESOURCE_BUSY", says="the run is promoted")

    @pytest.mark.parametrize(("first", "second"), [("reject", "promote"), ("promote", "reject")])
    def test_that_two_people_decide_at_once_are_decided_once(
        self,
        nightly: dict[str, Any],
        client: FlaskClient,
        world: World,
        classifier_id: str,
        monkeypatch: pytest.MonkeyPatch,
        first: str,
        second: str,
    ):
        run_id = put_run(world, classifier_id, "waiting", challenger=2)
        act, answers = getattr(retraining, second), []

        def overtaken(*args: Any, **said: Any) -> Any:
            answers.append(client.post(f"{PATH}/runs/{run_id}/{first}"))
            return act(*args, **said)

        monkeypatch.setattr(retraining, second, overtaken)
        late = client.post(f"{PATH}/runs/{run_id}/{second}")

        assert_problem(late, 409, "CONFLICT_RESOURCE_BUSY", says="meanwhile")
        status = {"promote": "promoted", "reject": "rejected"}[first]
        assert [each.get_json()["status"] for each in answers] == [status]
        assert client.get(f"{PATH}/runs/{run_id}").get_json()["status"] == status
        moved = client.get("/v1/classifiers/spam").get_json()["aliases"].get("champion") == 2
        assert moved == (first == "promote")

    def test_that_were_promoted_are_rolled_back_in_one_call(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        run_id = put_run(world, classifier_id, "waiting", challenger=2)
        client.post(f"{PATH}/runs/{run_id}/promote")

        answer = client.post(f"{PATH}/rollback").get_json()

        assert (answer["alias"], answer["version"], answer["rolled_back"]) == ("champion", 3, 2)
        run = client.get(f"{PATH}/runs/{run_id}").get_json()
        assert (run["rolled_back_at"] is not None, run["rollback_reason"]) == (
            True,
            "rolled back by hand",
        )
        last = client.get(PATH).get_json()["last_rollback"]
        assert (last["run"], last["automatic"], last["to_version"]) == (run_id, False, 3)

    def test_without_a_promotion_there_is_nothing_to_roll_back(
        self, nightly: dict[str, Any], client: FlaskClient
    ):
        answer = client.post(f"{PATH}/rollback")

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="no promotion to undo")

    def test_tell_webhooks_what_a_person_did(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        hook = {"url": "https://hooks.example.org/x", "events": ["retraining.promoted"]}
        made = client.post("/v1/webhooks", json=hook).get_json()
        run_id = put_run(world, classifier_id, "waiting", challenger=2)

        client.post(f"{PATH}/runs/{run_id}/promote")

        (told,) = client.get(f"/v1/webhooks/{made['id']}/deliveries").get_json()["data"]
        assert told["event"] == "retraining.promoted"


class TestFeedback:
    FEEDBACK = "/v1/classifiers/spam/feedback"

    def test_is_kept_listed_and_forgotten(self, nightly: dict[str, Any], client: FlaskClient):
        items = [
            {"id": "t-1", "input": "Where is my parcel?", "label": "x", "predicted": "y"},
            {"request_id": "req_1", "index": 0, "label": "x", "predicted": "x", "version": 3},
        ]
        sent = client.post(self.FEEDBACK, json={"items": items})
        client.post(self.FEEDBACK, json={"items": items[:1]})  # the same again

        assert (sent.status_code, sent.get_json()["ids"]) == (201, ["t-1", "req_1.0"])
        listed = client.get(self.FEEDBACK).get_json()
        FeedbackList.model_validate(listed)
        assert {each["id"]: each["text"] for each in listed["data"]} == {
            "t-1": "Where is my parcel?",
            "req_1.0": None,
        }
        assert client.delete(f"{self.FEEDBACK}?id=t-1").get_json()["deleted"] == 1
        assert client.delete(self.FEEDBACK).get_json()["deleted"] == 1
        assert_problem(client.delete(f"{self.FEEDBACK}?id=t-1"), 404, "RESOURCE_NOT_FOUND")

    def test_gives_the_live_accuracy_by_version_and_day(
        self, nightly: dict[str, Any], client: FlaskClient, world: World
    ):
        said = [(2, "x"), (2, " x"), (2, "y"), (3, "y"), (None, "x"), (3, None)]
        items = [
            {"input": f"text {i}", "label": "x", "version": version, "predicted": predicted}
            for i, (version, predicted) in enumerate(said)
        ]
        client.post(self.FEEDBACK, json={"items": items})

        answer = client.get(f"{self.FEEDBACK}/accuracy").get_json()

        FeedbackAccuracy.model_validate(answer, strict=False)
        (day,) = {each.pop("date") for each in answer["data"]}
        assert len(day) == 10
        assert answer["data"] == [
            {"version": 2, "items": 3, "correct": 2, "accuracy": 0.666667},
            {"version": 3, "items": 1, "correct": 0, "accuracy": 0.0},
        ]
        assert not list(world.store.list(retraining_keys.LIVE_CHECKS))
        client.patch(PATH, json={"auto_rollback": {"drop": 0.1}})
        client.post(self.FEEDBACK, json={"items": items[:1]})
        assert len(list(world.store.list(retraining_keys.LIVE_CHECKS))) == 1

    def test_gives_the_live_accuracy_in_pages_of_versions_and_days(
        self, nightly: dict[str, Any], client: FlaskClient, world: World, classifier_id: str
    ):
        records = FeedbackStore(store=world.store)
        for version, day in ((1, 0), (1, 1), (2, 1), (2, 2), (3, 2)):
            for n in range(2):
                item = FeedbackItem(
                    id=f"{version}.{day}.{n}",
                    label="x",
                    predicted="xy"[n],
                    version=version,
                    created_at=BEGAN + timedelta(days=day),
                )
                records.put("acme", classifier_id, item)
        whole = client.get(f"{self.FEEDBACK}/accuracy").get_json()
        assert (len(whole["data"]), whole["has_more"]) == (5, False)
        assert {each["accuracy"] for each in whole["data"]} == {0.5}

        pages, after = [], ""
        for _ in range(3):
            page = client.get(f"{self.FEEDBACK}/accuracy?limit=2{after}").get_json()
            pages.append(page["data"])
            after = f"&after={page['last_id']}"

        assert [day for page in pages for day in page] == whole["data"]
        assert page["has_more"] is False
        for wrong in ("2", "2.2026-13-01", "x.2026-01-01", "-1.2026-01-01", f"{10**8}.2026-01-01"):
            answer = client.get(f"{self.FEEDBACK}/accuracy?after={wrong}")
            assert_problem(answer, 422, "VALIDATION_ERROR", field="after", says="last_id")

    def test_of_a_version_that_no_key_can_name_is_refused(
        self, nightly: dict[str, Any], client: FlaskClient
    ):
        item = {"input": "a", "label": "x", "predicted": "x", "version": 10**8}
        answer = client.post(self.FEEDBACK, json={"items": [item]})
        assert_problem(answer, 422, "VALIDATION_ERROR", field="items[0].version")

    def test_of_one_id_in_one_call_is_the_last_item(
        self,
        nightly: dict[str, Any],
        client: FlaskClient,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
    ):
        written: list[str] = []
        put = world.store.put

        def recorded(name: str, *args: Any, **options: Any) -> str:
            written.append(name)
            return put(name, *args, **options)

        monkeypatch.setattr(world.store, "put", recorded)
        items = [
            {"id": "t-1", "input": "a", "label": label, "predicted": "x", "version": 2}
            for label in ("x", "y")
        ]
        client.post(self.FEEDBACK, json={"items": items})

        (day,) = client.get(f"{self.FEEDBACK}/accuracy").get_json()["data"]
        assert (day["items"], day["correct"]) == (1, 0)
        assert [name.count("/feedback/") for name in written] == [0, 1]

    def test_is_paged(self, nightly: dict[str, Any], client: FlaskClient):
        client.post(
            self.FEEDBACK, json={"items": [{"input": str(i), "label": "x"} for i in range(5)]}
        )
        first = client.get(f"{self.FEEDBACK}?limit=3").get_json()
        rest = client.get(f"{self.FEEDBACK}?limit=3&after={first['last_id']}").get_json()

        texts = [each["text"] for each in (*first["data"], *rest["data"])]
        assert (first["has_more"], rest["has_more"]) == (True, False)
        assert sorted(texts) == ["0", "1", "2", "3", "4"]

    def test_of_a_classifier_that_keeps_nothing_is_refused(self, client: FlaskClient, world: World):
        answer = client.post(self.FEEDBACK, json={"items": [{"input": "a", "label": "x"}]})

        assert_problem(answer, 409, "CONFLICT_RESOURCE_BUSY", says="stores no feedback")
        assert not list(world.store.list(retraining_keys.feedback_of("acme", "")))

    @pytest.mark.parametrize(
        ("item", "field"),
        [
            ({"label": "x"}, "items[0].input"),
            ({"input": "a"}, "items[0].label"),
            ({"input": "a", "label": " "}, "items[0].label"),
            ({"input": "", "label": "x"}, "items[0].text"),
            ({"request_id": "r", "label": "x"}, "items[0].request_id"),
            ({"input": "a", "label": "x", "id": "i" * 300}, "items[0].id"),
            ({"input": "a", "label": "x", "lable": "y"}, "items[0].lable"),
        ],
    )
    def test_that_is_wrong_is_refused(
        self, nightly: dict[str, Any], client: FlaskClient, item: dict[str, Any], field: str
    ):
        answer = client.post(self.FEEDBACK, json={"items": [item]})

        assert_problem(answer, 422, "VALIDATION_ERROR", field=field)
