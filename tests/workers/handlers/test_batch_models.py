"""Batches whose lines name a model that their worker does not hold: they end all the same."""

from __future__ import annotations

from shared.batches import TRAIN
from shared.jobs import State
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import a_batch, ended, jsonl, lines, result, run_all

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
