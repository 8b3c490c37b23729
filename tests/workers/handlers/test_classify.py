from __future__ import annotations

import pytest

from shared.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    TokenLimitExceeded,
    Unavailable,
)
from shared.types import (
    ClassifierVersion,
    ClassifyRequest,
    ClassifyResult,
    Priority,
    Question,
    Threshold,
    TrainRequest,
)
from tests.workers.conftest import Bench, a_request
from tests.workers.handlers.test_train import a_job, creation, examples, hold
from workers.work_context import WorkContext


def run(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    pending = bench.classify.begin(request, WorkContext(priority=Priority.STANDARD))
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


def test_examples_of_a_label_move_it_and_cost_their_tokens_once(bench: Bench):
    request = a_request("stone", examples={"green": ("stone stone", "a stone")})

    plain, moved = run(bench, a_request("stone")), run(bench, request)
    ran = bench.encoder.ran
    again = run(bench, request)

    assert moved.answers[0][0].best == 1
    assert moved.answers[0][0].scores[1] > plain.answers[0][0].scores[1]
    assert moved.usage.label_tokens == plain.usage.label_tokens + 4
    assert again == moved
    assert bench.encoder.ran == ran + 1  # the item; the prototypes are remembered


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
        run(bench, a_request(template="outside the allowed S3 locations"))


def test_a_model_of_another_worker_is_unavailable_here(bench: Bench):
    with pytest.raises(Unavailable):
        run(bench, a_request(model="other"))


def test_labels_with_one_vector_are_named_with_their_group(bench: Bench):
    questions = (
        Question(group="colour", labels=("red", "green")),
        Question(group="thing", labels=("rose", "leaf", "Rose")),
    )

    result = run(bench, a_request("a red rose", questions=questions))
    again = run(bench, a_request("a leaf", questions=(Question(labels=("rose", "leaf", "Rose")),)))

    assert [(pair.group, pair.labels) for pair in result.alike] == [("thing", ("rose", "Rose"))]
    assert [(pair.group, pair.labels) for pair in again.alike] == [(None, ("rose", "Rose"))]


class TestFit:
    """How typical an item is of anything that labels or examples describe."""

    def test_is_not_there_unless_it_is_asked_for(self, bench: Bench):
        ((answer,),) = run(bench, a_request("red")).answers

        assert (answer.fit, answer.unknown) == (None, False)

    def test_is_higher_for_a_text_that_a_label_describes(self, bench: Bench):
        request = a_request("red", "an unrelated sentence", return_fit=True)

        (near,), (far,) = run(bench, request).answers

        assert near.fit is not None
        assert far.fit is not None
        assert 0 <= far.fit < near.fit <= 1
        assert not near.unknown

    def test_below_the_bound_is_unknown_and_scores_stay(self, bench: Bench):
        plain = run(bench, a_request("red", "an unrelated sentence")).answers
        fits = run(bench, a_request("red", "an unrelated sentence", return_fit=True)).answers
        bound = fits[1][0].fit + 1e-4

        found = run(bench, a_request("red", "an unrelated sentence", unknown_below=bound)).answers

        assert [answers[0].unknown for answers in found] == [False, True]
        assert [a[0].scores for a in found] == [a[0].scores for a in plain]
        assert [a[0].best for a in found] == [a[0].best for a in plain]

    def test_a_fit_equal_to_the_bound_is_known(self, bench: Bench):
        fit = run(bench, a_request("red", return_fit=True)).answers[0][0].fit

        assert not run(bench, a_request("red", unknown_below=fit)).answers[0][0].unknown

    def test_each_question_has_its_own(self, bench: Bench):
        questions = (
            Question(group="colour", labels=("red", "green")),
            Question(group="thing", labels=("stone", "leaf")),
        )

        ((colour, thing),) = run(
            bench, a_request("red", questions=questions, return_fit=True)
        ).answers

        assert colour.fit is not None
        assert thing.fit is not None
        assert colour.fit > thing.fit

    def test_the_forward_pass_is_that_of_a_request_without(self, bench: Bench):
        run(bench, a_request("red", return_fit=True))
        ran = bench.encoder.ran

        run(bench, a_request("red", return_fit=True))

        assert bench.encoder.ran == ran + 1

    def test_null_labels_compete_only_where_several_labels_may_be_true(self, bench: Bench):
        for multi_label in (False, True):
            plain = run(bench, a_request("red", multi_label=multi_label))
            asked = run(bench, a_request("red", multi_label=multi_label, return_fit=True))
            assert asked.answers[0][0].scores == plain.answers[0][0].scores


class TestByClassifier:
    """Requests that name a version of a classifier instead of labels."""

    @pytest.fixture
    def weights(self, bench: Bench) -> ClassifierVersion:
        body = creation()
        bench.train.train(a_job(), body, hold())
        record, _ = bench.classifiers.records.load("acme", body.classifier_id)
        return record.weights(record.latest)

    def ask(
        self, bench: Bench, weights: ClassifierVersion, *texts: str, **changes: object
    ) -> ClassifyResult:
        request = a_request(*texts, questions=(), classifier=weights, **changes)
        pending = bench.classify.begin(request, WorkContext(priority=Priority.STANDARD))
        return pending.result(timeout_s=5)

    def test_answers_with_what_was_learnt(self, bench: Bench, weights: ClassifierVersion):
        result = self.ask(bench, weights, "a red rose", "green grass")
        assert result.labels == ("red", "green")
        assert [answers[0].best for answers in result.answers] == [0, 1]
        assert sum(s or 0 for s in result.answers[0][0].scores) == pytest.approx(1, abs=1e-5)
        assert (result.usage.input_tokens, result.usage.label_tokens) == (5, 0)

    def test_a_version_stays_what_it_was(self, bench: Bench, weights: ClassifierVersion):
        before = self.ask(bench, weights, "a red rose")
        update = TrainRequest(
            model="tiny",
            classifier_id=weights.classifier_id,
            examples=examples(("a red rose", "green"), num_iters=100),
        )
        bench.train.train(a_job(), update, hold())
        assert self.ask(bench, weights, "a red rose") == before
        record, _ = bench.classifiers.records.load("acme", weights.classifier_id)
        latest = self.ask(bench, record.weights(record.latest), "a red rose")
        assert (latest.answers[0][0].scores[1] or 0) > (before.answers[0][0].scores[1] or 0)

    def test_threshold_and_top_k_remove_labels(self, bench: Bench, weights: ClassifierVersion):
        (answers,) = self.ask(bench, weights, "a red rose", top_k=1).answers
        assert [score is None for score in answers[0].scores] == [False, True]
        none = self.ask(bench, weights, "rose", threshold=Threshold(default=0.999)).answers
        assert none[0][0].best is None

    def test_other_scores(self, bench: Bench, weights: ClassifierVersion):
        raw = self.ask(bench, weights, "a red rose", scores="raw").answers[0][0]
        jina = self.ask(bench, weights, "a red rose", scores="jina").answers[0][0]
        assert raw.best == jina.best == 0
        assert sum(s or 0 for s in jina.scores) == pytest.approx(1, abs=1e-5)

    def test_the_margin_is_that_of_the_calibrated_scores(
        self, bench: Bench, weights: ClassifierVersion
    ):
        plain = self.ask(bench, weights, "a red rose").answers[0][0].scores
        asked = self.ask(bench, weights, "a red rose", scores="raw", return_uncertainty=True)
        assert asked.answers[0][0].margin == pytest.approx(plain[0] - plain[1], abs=2e-6)

    def test_the_fit_is_that_to_its_examples(self, bench: Bench, weights: ClassifierVersion):
        texts = ("a red rose", "an unrelated sentence about taxes")
        (near,), (far,) = self.ask(bench, weights, *texts, return_fit=True).answers
        assert near.fit is not None
        assert far.fit is not None
        assert 0 <= far.fit < near.fit <= 1
        ((unknown,),) = self.ask(bench, weights, texts[1], unknown_below=far.fit + 1e-4).answers
        assert unknown.unknown
        assert unknown.best is not None

    def test_a_version_that_is_gone(self, bench: Bench, weights: ClassifierVersion):
        with pytest.raises(NotFound):
            self.ask(bench, weights.model_copy(update={"file": "9-gone"}), "a")

    def test_a_store_that_is_away_costs_only_what_is_not_kept(
        self, bench: Bench, weights: ClassifierVersion
    ):
        self.ask(bench, weights, "a")
        bench.store.away = True
        assert self.ask(bench, weights, "a").labels == ("red", "green")
        with pytest.raises(StoreUnavailable):
            self.ask(bench, weights.model_copy(update={"file": "9-other"}), "a")

    def test_another_revision_of_the_model(self, bench: Bench, weights: ClassifierVersion):
        bench.encoder.revision = "2"
        with pytest.raises(Conflict, match="revision"):
            self.ask(bench, weights, "a")
