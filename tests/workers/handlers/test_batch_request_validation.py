"""What the lines of a batch ask is judged before anything runs, as it will be when they run."""

from __future__ import annotations

from typing import Any

import pytest

from shared import ids, object_keys
from shared.batches import CLASSIFY, TRAIN, BadRow, BatchRequest, Plan, RowSource
from shared.jobs import Job
from shared.limits import Limits
from shared.messages import decode
from tests.workers.conftest import Bench
from tests.workers.handlers.test_batch import ME, a_batch, ended, jsonl, lines, result, run_all
from tests.workers.handlers.test_batch_dry_run import tried
from workers.handlers.batch.part_rows import PartRow
from workers.handlers.batch.request_validation import RequestValidator

GOOD = {"input": "a red thing", "labels": ["red", "green"]}
PAIRS = [{"text": "a rose", "label": "red"}, {"text": "grass", "label": "green"}]


def bodies(endpoint: str = CLASSIFY, limits: Limits | None = None) -> RequestValidator:
    body = BatchRequest(model="tiny", source=RowSource(), endpoint=endpoint)
    return RequestValidator(body, limits or Limits())


def judged(body: dict[str, object], **said: Any) -> tuple[str, str | None] | None:
    """The code and the place of what is wrong."""
    fault = bodies(**said).fault(PartRow(line=1, id="a", data=body))
    return None if fault is None else (fault.code, fault.param)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (GOOD, None),
        ({**GOOD, "input": ["red", {"text": "green"}]}, None),
        ({"input": "red", "classifier_id": "colours"}, None),
        ({**GOOD, "labels": ["red"]}, ("input_invalid_labels", "labels")),
        ({**GOOD, "threshold": "high"}, ("validation_error", "threshold")),
        ({"labels": ["red", "green"]}, ("validation_error", "input")),
        ({"words": "red", "labels": ["red", "green"]}, ("validation_error", "input")),
        ({"input": "red"}, ("input_labels_required", "labels")),
        ({**GOOD, "input": " "}, ("validation_error", "input[0].text")),
        ({"input": "", "classifier_id": "colours"}, ("validation_error", "input[0].text")),
    ],
)
def test_a_request_is_judged_by_what_it_says(
    body: dict[str, object], found: tuple[str, str] | None
):
    assert judged(body) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"input": PAIRS}, None),
        ({"input": PAIRS[:1], "classifier_id": "colours"}, None),
        ({"input": PAIRS[:1]}, ("input_invalid_labels", "input")),
        ({"input": [{"text": "x"}]}, ("validation_error", "input[0].label")),
        ({"input": PAIRS, "num_iters": 0}, ("validation_error", "num_iters")),
        ({}, ("validation_error", "input")),
    ],
)
def test_a_lesson_is_judged_too(body: dict[str, object], found: tuple[str, str] | None):
    assert judged(body, endpoint=TRAIN) == found


def test_what_the_operator_allows_is_judged():
    many = {**GOOD, "labels": [f"label {n}" for n in range(300)]}

    assert judged(many, limits=Limits(max_labels=300)) is None
    assert judged(many) == ("input_label_limit_exceeded", "labels")


def test_lines_that_ask_the_same_are_judged_each_by_its_own_text():
    judge = bodies(limits=Limits(max_input_tokens=1))

    def fault(line: int, text: object) -> BadRow | None:
        return judge.fault(PartRow(line=line, id=None, data={**GOOD, "input": text}))

    assert fault(1, "red") is None
    assert fault(2, "green") is None
    texts = ["  ", None, 7, "a" * 33]
    assert [found.line for n, text in enumerate(texts) if (found := fault(n, text))] == [0, 1, 2, 3]
    assert fault(9, "a" * 32) is None


def test_a_good_text_excuses_nothing_else():
    judge = bodies()

    assert judge.fault(PartRow(line=1, id=None, data=GOOD)) is None
    assert judge.fault(PartRow(line=2, id=None, data={**GOOD, "top_k": 0})) is not None


def said(bench: Bench, job: Job) -> dict[str, tuple[str, str, str | None]]:
    """What the error file says, by the ids of the lines."""
    found = {}
    for line in lines(bench, result(bench, job).error_file):
        error = line["response"]["body"]["error"]
        assert line["custom_id"] not in found
        found[line["custom_id"]] = (error["code"], error["message"], error["param"])
    return found


@pytest.mark.parametrize(
    ("endpoint", "known", "wrong"),
    [
        (
            CLASSIFY,
            False,
            [{**GOOD, "labels": ["red"]}, {**GOOD, "threshold": "high"}, {"text": "x"}, {}],
        ),
        (CLASSIFY, True, [{**GOOD, "labels": [f"label {n}" for n in range(300)]}]),
        (CLASSIFY, True, [{**GOOD, "input": "\ud800"}, {**GOOD, "labels": ["red", "\udc00"]}]),
        (TRAIN, True, [{"input": [*PAIRS, {"text": "\ud800", "label": "red"}]}]),
        (TRAIN, True, [{"input": PAIRS[:1]}, {"input": PAIRS, "num_iters": 0}, {}]),
    ],
)
def test_a_bad_line_is_named_before_it_runs_and_told_once_in_the_same_words(
    bench: Bench, endpoint: str, known: bool, wrong: list[dict[str, object]]
):
    if known:
        object.__setattr__(bench.parts.planner, "limits", bench.limits)
    good = GOOD if endpoint == CLASSIFY else {"input": PAIRS}
    asked = [{"custom_id": f"c{n}", "body": body} for n, body in enumerate([good, *wrong])]
    alone = a_batch(bench, jsonl(asked[0]), rows=None, endpoint=endpoint)
    job = a_batch(bench, jsonl(*asked), rows=None, endpoint=endpoint)

    report = tried(bench, job)
    run_all(bench)

    plan = decode(Plan, bench.store.get(object_keys.plan(ME, job.id)).data)
    assert report.bad == plan.bad
    assert report.bad_count == plan.bad_count == len(wrong)
    named = {f"c{bad.line - 1}": (bad.code, bad.message, bad.param) for bad in plan.bad}
    assert named == said(bench, job)
    done = ended(bench, job)
    assert (done.progress.completed, done.progress.failed) == (1, len(wrong))
    assert done.usage == ended(bench, alone).usage
    assert report.tokens == done.usage.total_tokens


def test_an_id_with_half_of_a_surrogate_pair_is_refused(bench: Bench):
    job = a_batch(bench, jsonl({"custom_id": "a\ud800", "body": GOOD}), rows=None)

    run_all(bench)

    [line] = lines(bench, result(bench, job).error_file)
    assert line["custom_id"] is None
    assert line["error"]["code"] == "invalid_custom_id"


def test_lines_in_several_objects_are_named_with_theirs():
    row = PartRow(line=12, id="a", data={}, place="b.jsonl, line 2")

    fault = bodies().fault(row)

    assert fault is not None
    assert fault.line == 12
    assert fault.message.startswith("b.jsonl, line 2: input: ")


def test_a_line_may_ask_for_errors_per_item(bench: Bench):
    mixed = {**GOOD, "input": ["green", "", 5, "red " * 51, "\ud800"], "errors": "per_item"}
    other = {
        **GOOD,
        "input": ["red", {"file": ids.file_id(0, 0)}],
        "errors": "per_item",
    }
    asked = [
        {"custom_id": f"c{n}", "body": body} for n, body in enumerate([mixed, other, GOOD, mixed])
    ]
    job = a_batch(bench, jsonl(*asked), rows=None)

    report = tried(bench, job)
    run_all(bench)

    done = ended(bench, job)
    assert (report.bad_count, done.progress.completed, done.progress.failed) == (0, 4, 0)
    data = {
        line["custom_id"]: line["response"]["body"]["data"]
        for line in lines(bench, result(bench, job).output_file)
    }
    assert [row["prediction"] for row in data["c0"]] == ["green", None, None, None, None]
    assert [row.get("error", {}).get("field") for row in data["c0"]] == [
        None, "input[1].text", "input[2]", "input[3]", "input[4]",
    ]  # fmt: skip
    assert data["c3"] == data["c0"]  # both go through the model together
    assert "input[3]" in data["c3"][3]["error"]["message"]
    assert [row["prediction"] for row in data["c1"]] == ["red", None]
    assert data["c1"][1]["error"]["field"] == "input[1].file"
    assert report.tokens == done.usage.total_tokens
