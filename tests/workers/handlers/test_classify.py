from __future__ import annotations

import pytest

from shared.errors import InvalidRequest, TokenLimitExceeded, Unavailable
from shared.types import ClassifyRequest, ClassifyResult, Priority, Question, Threshold
from tests.workers.conftest import Bench, a_request


def run(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    pending = bench.classify.begin(request, priority=Priority.STANDARD, deadline=None)
    return pending.result(timeout_s=10)


def test_each_item_gets_one_answer_per_question(bench: Bench):
    questions = (
        Question(group="colour", labels=("red", "green")),
        Question(group="thing", labels=("rose", "leaf", "stone")),
    )

    result = run(bench, a_request("a red rose", "a green leaf", questions=questions))

    assert [[a.best for a in answers] for answers in result.answers] == [[0, 0], [1, 1]]
    assert [len(a.scores) for a in result.answers[0]] == [2, 3]


def test_usage_counts_items_and_the_labels_of_every_question_once(bench: Bench):
    result = run(bench, a_request("one two three", "four", descriptions={"red": "like blood"}))

    assert (result.usage.input_tokens, result.usage.label_tokens) == (4, 4)


def test_a_threshold_removes_labels_and_the_prediction_with_them(bench: Bench):
    request = a_request("red", threshold=Threshold(default=1.1, per_label={"green": 0.0}))

    ((answer,),) = run(bench, request).answers

    assert answer.best is None
    assert answer.scores[0] is None
    assert answer.scores[1] is not None


def test_top_k_keeps_the_best_in_label_order(bench: Bench):
    questions = (Question(labels=("blue", "red", "green")),)

    ((answer,),) = run(bench, a_request("red", questions=questions, top_k=1)).answers

    assert answer.best == 1
    assert [score is None for score in answer.scores] == [True, False, True]


def test_scores_have_six_decimals_at_most(bench: Bench):
    ((answer,),) = run(bench, a_request("red")).answers

    assert all(score == round(score, 6) for score in answer.scores if score is not None)


@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_go_through_the_model_once(bench: Bench, multi_label: bool):
    request = a_request("red", multi_label=multi_label)
    run(bench, request)
    ran = bench.encoder.ran

    run(bench, request)

    assert bench.encoder.ran == ran + 1


def test_other_descriptions_or_templates_are_other_labels(bench: Bench):
    plain = run(bench, a_request("red"))
    described = run(bench, a_request("red", descriptions={"green": "red red red"}))
    templated = run(bench, a_request("red", template="red {label}"))

    assert len({r.answers[0][0].scores for r in (plain, described, templated)}) == 3


def test_labels_that_failed_are_tried_again(bench: Bench):
    bench.encoder.error = MemoryError()
    with pytest.raises(MemoryError):
        run(bench, a_request("red"))
    bench.encoder.error = None

    assert run(bench, a_request("red")).answers[0][0].best == 0


def test_an_item_longer_than_the_window_is_read_whole_and_said_to_be(bench: Bench):
    windowed = "green " * 33 + "red " * 12

    result = run(bench, a_request("red", windowed))

    assert result.windowed == (1,)
    assert [answers[0].best for answers in result.answers] == [0, 1]


def test_an_item_that_is_too_long_names_its_index(bench: Bench):
    with pytest.raises(TokenLimitExceeded, match=r"input\[1\].*51 tokens"):
        run(bench, a_request("short", "word " * 51))


def test_a_template_without_a_place_for_the_label_is_refused(bench: Bench):
    with pytest.raises(InvalidRequest, match="template"):
        run(bench, a_request(template="no place"))


def test_a_model_of_another_worker_is_unavailable_here(bench: Bench):
    with pytest.raises(Unavailable):
        run(bench, a_request(model="other"))
