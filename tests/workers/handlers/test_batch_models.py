"""Batches whose lines name a model that their worker does not hold: they end all the same."""

from __future__ import annotations

import json

from shared.batches import TRAIN, BatchRequest, RowSource
from shared.jobs import State
from shared.model_catalogue import Catalogue, ModelEntry
from shared.types import JobKind
from tests.workers.conftest import CATALOGUE, Bench
from tests.workers.handlers.test_batch import a_batch, ended, jsonl, lines, result, run_all
from tests.workers.handlers.test_train import a_job, hold
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.request_rows import Requests
from workers.handlers.batch.run_part import Lines
from workers.handlers.batch.train_request_rows import TrainRequestRows

LABELS = {"labels": ["red", "green"]}
PAIRS = {"input": [{"text": "a rose", "label": "red"}, {"text": "grass", "label": "green"}]}


def line(number: int, url: str, **body: object) -> dict[str, object]:
    return {"custom_id": f"c{number}", "method": "POST", "url": url, "body": body}


def only_the_second_was_refused(bench: Bench, *said: dict[str, object], **changes: str) -> None:
    job = a_batch(bench, jsonl(*said), rows=None, **changes)

    run_all(bench)

    done = ended(bench, job)
    assert (done.state, done.progress.completed, done.progress.failed) == (State.SUCCEEDED, 2, 1)
    found = result(bench, job)
    assert [each["custom_id"] for each in lines(bench, found.output_file)] == ["c0", "c2"]
    (refused,) = lines(bench, found.error_file)
    assert refused["custom_id"] == "c1"
    assert refused["response"]["status_code"] == 400
    problem = refused["response"]["body"]["error"]
    assert (problem["code"], problem["param"]) == ("input_model_not_found", "model")
    assert "do not hold elsewhere" in problem["message"]


def test_a_line_to_classify_is_refused_and_the_others_are_answered(bench: Bench):
    only_the_second_was_refused(
        bench,
        line(0, "/v1/classify", input="red", **LABELS),
        line(1, "/v1/classify", input="red", model="elsewhere", **LABELS),
        line(2, "/v1/classify", input="red", model="tiny", **LABELS),
    )


def test_a_line_to_learn_is_refused_and_makes_nothing(bench: Bench):
    only_the_second_was_refused(
        bench,
        line(0, TRAIN, name="first", **PAIRS),
        line(1, TRAIN, name="second", model="elsewhere", **PAIRS),
        line(2, TRAIN, name="second", **PAIRS),
        endpoint=TRAIN,
    )


class TestTextsUnderAnImageModelThatTheWorkerDoesNotHold:
    MODEL = "jina-clip-v2"
    CLIP = ModelEntry(name="clip", aliases=(MODEL,), engine="open_clip")
    WITH_CLIP = Catalogue([*CATALOGUE.entries.values(), CLIP], default="tiny")

    def classified(self, bench: Bench, *, allowed: bool = True, **body: object) -> Lines:
        requests = Requests(
            classify=bench.classify,
            records=bench.classifiers.records,
            catalogue=self.WITH_CLIP,
            limits=bench.limits,
            text_fallback=allowed,
        )
        row = PartRow(line=1, id="a", data={**LABELS, **body})
        request = BatchRequest(model="tiny", source=RowSource(object="o"))
        return requests.work(a_job(JobKind.BATCH), request, [row], hold())

    def learnt(self, bench: Bench, *, allowed: bool = True, **body: object) -> Lines:
        lessons = TrainRequestRows(
            train=bench.train,
            records=bench.classifiers.records,
            catalogue=self.WITH_CLIP,
            limits=bench.limits,
            max_classifiers=5,
            text_fallback=allowed,
        )
        row = PartRow(line=1, id="a", data={**PAIRS, **body})
        request = BatchRequest(model="tiny", source=RowSource(object="o"), endpoint=TRAIN)
        return lessons.work(a_job(JobKind.BATCH), request, [row], hold())

    def test_are_answered_by_the_default_model_as_in_a_call(self, bench: Bench):
        (line,) = self.classified(bench, model=self.MODEL, input="a red rose").output
        body = json.loads(line)["response"]["body"]
        assert body["data"][0]["prediction"] == "red"

        (line,) = self.learnt(bench, model=self.MODEL, name="colours").output
        assert json.loads(line)["response"]["body"]["labels"] == ["red", "green"]

    def test_leave_the_images_beside_them_as_errors_where_that_is_asked(self, bench: Bench):
        image = {"image": "data:image/png;base64,iVBORw0KGgo="}
        items = ["a red rose", image]

        (line,) = self.classified(bench, model=self.MODEL, input=items, errors="per_item").output
        text, picture = json.loads(line)["response"]["body"]["data"]
        assert text["prediction"] == "red"
        assert picture["error"]["code"] == "INPUT_MODEL_NOT_FOUND"
        assert picture["error"]["field"] == "input[1].image"

        (line,) = self.classified(bench, model=self.MODEL, input=items).errors
        assert json.loads(line)["response"]["status_code"] == 400

    def test_are_refused_under_its_own_name_and_where_the_operator_forbids(self, bench: Bench):
        for model, allowed in (("clip", True), (self.MODEL, False)):
            for refused in (
                self.classified(bench, allowed=allowed, model=model, input="a red rose"),
                self.learnt(bench, allowed=allowed, model=model, name="colours"),
            ):
                (line,) = refused.errors
                assert json.loads(line)["response"]["status_code"] == 400
