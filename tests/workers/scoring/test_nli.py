"""NLI and hybrid engines on a model with fixed scores: which pairs run, and what comes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import (
    DeadlineExceeded,
    InvalidRequest,
    LabelLimitExceeded,
    TokenLimitExceeded,
)
from shared.limits import COMPARED_LABELS, Limits
from shared.model_catalogue import ModelEntry
from shared.types import ClassifyRequest, ClassifyResult, Item, Media, Priority, Question
from tests.fake_media import BROKEN, SCAN
from tests.fake_pairs import FixedPairs
from tests.waiting import wait_until
from tests.workers.conftest import Bench, a_request
from workers.embedding.loaded_model import LoadedModel
from workers.embedding.pairs import PairScorer
from workers.microbatching.microbatcher import Microbatcher
from workers.work_context import WorkContext

BOUND_S = 60.0
CONTEXT = WorkContext(priority=Priority.STANDARD)
ENTRY = ModelEntry(name="nli", engine="cross_encoder", hypothesis="about {label}", nli_weight=0.5)
MANY = tuple(f"label{place}" for place in range(40))


@pytest.fixture
def pairs(bench: Bench) -> Iterator[FixedPairs]:
    """The encoder of the model `nli`, which the bench holds."""
    encoder = FixedPairs()
    with Microbatcher(encoder, budget_tokens=64, name="nli") as batcher:
        bench.models["nli"] = LoadedModel(entry=ENTRY, pairs=PairScorer(encoder, batcher))
        yield encoder


def asked(*texts: str, engine: str = "nli", **changes: object) -> ClassifyRequest:
    hybrid = {"nli_model": "nli"} if engine == "hybrid" else {"model": "nli"}
    return a_request(*texts, **{"engine": engine, **hybrid, **changes})


def classify(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    return bench.classify.begin(request, CONTEXT).result(timeout_s=BOUND_S)


def test_every_text_is_compared_with_every_label(bench: Bench, pairs: FixedPairs):
    result = classify(bench, asked("a red rose", "green grass"))

    assert sorted(pairs.pairs) == [
        (text, f"about {label}") for text in ("a red rose", "green grass") for label in
        ("green", "red")
    ]  # fmt: skip
    assert [answers[0].best for answers in result.answers] == [0, 1]
    e = np.exp([2.0, -1.0])
    assert result.answers[0][0].scores == pytest.approx(e / e.sum(), abs=1e-5)
    assert (result.usage.input_tokens, result.usage.label_tokens) == (5, 2)


def test_with_many_labels_scores_are_independent(bench: Bench, pairs: FixedPairs):
    result = classify(bench, asked("red and green", "blue", multi_label=True))

    high, low = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))
    assert result.answers[0][0].scores == pytest.approx((high, high), abs=1e-5)
    assert result.answers[1][0].scores == pytest.approx((low, low), abs=1e-5)


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_template_and_descriptions_make_the_hypothesis(
    bench: Bench, pairs: FixedPairs, engine: str
):
    request = asked(
        "a rose", engine=engine, template="it feels {label}", descriptions={"red": "like a rose"}
    )
    classify(bench, request)

    assert {hypothesis for _, hypothesis in pairs.pairs} == {
        "it feels red: like a rose",
        "it feels green",
    }


def test_of_a_long_text_the_best_window_counts(bench: Bench, pairs: FixedPairs):
    long = " ".join(["word"] * 48 + ["red"])
    result = classify(bench, asked(long, "green"))

    assert [answers[0].best for answers in result.answers] == [0, 1]
    assert result.windowed == (0,)
    premises = {premise for premise, hypothesis in pairs.pairs if hypothesis == "about red"}
    assert sorted(len(premise.split()) for premise in premises) == [1, 24, 25]
    e = np.exp([2.0, -1.0])  # as if the window with the word were the whole text
    assert result.answers[0][0].scores == pytest.approx(e / e.sum(), abs=1e-5)


def test_equal_pairs_run_once_and_pairs_share_forward_passes(bench: Bench, pairs: FixedPairs):
    classify(bench, asked(*["red"] * 5, "green"))

    assert len(pairs.pairs) == 4
    assert len(pairs.passes) == 1


def test_a_text_that_is_too_long_fails_alone_where_that_is_asked(bench: Bench, pairs: FixedPairs):
    texts = ("red", "word " * 51, "green")
    with pytest.raises(TokenLimitExceeded, match=r"input\[1\]"):
        classify(bench, asked(*texts))

    for engine in ("nli", "hybrid"):
        result = classify(bench, asked(*texts, engine=engine, errors="per_item"))
        assert [each.index for each in result.failed] == [1]
        assert [a[0].best if a else None for a in result.answers] == [0, None, 1]


def test_a_hypothesis_that_leaves_no_room_for_the_text_is_refused(bench: Bench, pairs: FixedPairs):
    for engine in ("nli", "hybrid"):
        with pytest.raises(TokenLimitExceeded, match=r"descriptions\[red\]: .* at most 24 fit"):
            classify(bench, asked("red", engine=engine, descriptions={"red": "word " * 24}))


def test_no_caller_who_cannot_name_an_engine_is_advised_to(bench: Bench, pairs: FixedPairs):
    request = asked("red", engine_fallback=True, descriptions={"red": "word " * 24})
    with pytest.raises(TokenLimitExceeded, match=r"at most 24 fit .*: shorten it$"):
        classify(bench, request)

    many = asked("a", engine_fallback=True, questions=(Question(labels=MANY),))
    with pytest.raises(LabelLimitExceeded, match=r"send fewer labels$") as caught:
        Limits(max_pairs=10).check(many)
    assert caught.value.fields[0].field == "labels"


def test_hybrid_compares_the_best_labels_only(bench: Bench, pairs: FixedPairs):
    request = asked("label3 label17", "label5", engine="hybrid", questions=(Question(labels=MANY),))
    result = classify(bench, request)

    by_text = [[h for p, h in pairs.pairs if p == item.text] for item in request.items]
    assert [len(each) for each in by_text] == [COMPARED_LABELS] * 2
    assert {"about label3", "about label17"} <= set(by_text[0])
    assert [answers[0].best for answers in result.answers] in ([3, 5], [17, 5])
    for (answer,) in result.answers:
        scores = [score or 0.0 for score in answer.scores]
        assert sum(scores) == pytest.approx(1.0, abs=1e-4)
        compared = {MANY.index(h.removeprefix("about ")) for h in by_text[0]}
        if answer is result.answers[0][0]:
            rest = [score for place, score in enumerate(scores) if place not in compared]
            assert max(rest) <= min(scores[place] for place in compared)


def test_hybrid_moves_the_scores_of_embeddings_towards_the_nli_model(
    bench: Bench, pairs: FixedPairs
):
    request = asked("a rose and grass", engine="hybrid")
    before = classify(bench, a_request("a rose and grass")).answers[0][0].scores

    for favoured in (0, 1):
        label = request.questions[0].labels[favoured]
        pairs.logits = lambda _, h, word=label: (4.0, 0.0) if word in h.split() else (0.0, 0.0)
        after = classify(bench, request).answers[0][0].scores
        assert (after[favoured] or 0) > (before[favoured] or 0)


def test_hybrid_has_the_fit_and_margin_of_its_parts(bench: Bench, pairs: FixedPairs):
    result = classify(
        bench, asked("red", engine="hybrid", return_fit=True, return_uncertainty=True)
    )

    (answer,) = result.answers[0]
    assert answer.fit is not None
    assert answer.margin == pytest.approx(
        abs((answer.scores[0] or 0) - (answer.scores[1] or 0)), abs=1e-5
    )


def test_groups_of_labels_are_questions_of_their_own(bench: Bench, pairs: FixedPairs):
    groups = (
        Question(group="colour", labels=("red", "green")),
        Question(group="thing", labels=("rose", "grass", "sky")),
    )
    for engine in ("nli", "hybrid"):
        result = classify(bench, asked("green sky", engine=engine, questions=groups))
        assert [answer.best for answer in result.answers[0]] == [1, 2]


@pytest.mark.parametrize("engine", ["nli", "hybrid"])
def test_work_that_is_cancelled_or_late_leaves_the_queue(
    bench: Bench, pairs: FixedPairs, engine: str
):
    batcher = bench.models["nli"].batchers[0]
    late = WorkContext(priority=Priority.STANDARD, deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        bench.classify.begin(asked("red", engine=engine), late).result(timeout_s=BOUND_S)

    pending = bench.classify.begin(asked("red", engine=engine), CONTEXT)
    pending.cancel()
    assert all(future.cancelled() or future.done() for future in pending.scores)
    wait_until(lambda: batcher.backlog_tokens() == 0)


def test_a_model_does_only_what_it_can(bench: Bench, pairs: FixedPairs):
    with pytest.raises(InvalidRequest, match="is an NLI model"):
        classify(bench, a_request("red", model="nli"))
    with pytest.raises(InvalidRequest, match="is no NLI model"):
        classify(bench, asked("red", model="tiny"))


def test_more_pairs_than_allowed_are_refused_with_what_to_do():
    limits = Limits(max_pairs=100)
    with pytest.raises(LabelLimitExceeded, match=r'compare 120 pairs.*100.*"engine": "hybrid"'):
        limits.check(asked("a", "b", "c", questions=(Question(labels=MANY),)))

    limits.check(asked("a", "b", "c", engine="hybrid", questions=(Question(labels=MANY),)))
    with pytest.raises(LabelLimitExceeded, match=r"compare 104 pairs.*send fewer inputs"):
        limits.check(asked(*"abcdefghijklm", engine="hybrid", questions=(Question(labels=MANY),)))


def document(pages: str) -> Item:
    return Item(file=Media(data=pages))


class TestDocuments:
    @pytest.mark.parametrize("engine", ["nli", "hybrid"])
    def test_one_is_compared_by_its_whole_text(self, bench: Bench, pairs: FixedPairs, engine: str):
        items = (document("a red|rose"), Item(text="green grass"), document("a red|rose"))

        result = classify(bench, asked(engine=engine).model_copy(update={"items": items}))

        assert [answers[0].best for answers in result.answers] == [0, 1, 0]
        assert {text for text, _ in pairs.pairs} == {"a red rose", "green grass"}
        assert result.item_tokens == (3, 2, 3)
        assert [(file.index, file.by, file.pages) for file in result.files] == [
            (0, "text", 2),
            (2, "text", 2),
        ]

    @pytest.mark.parametrize("engine", ["nli", "hybrid"])
    def test_a_scan_and_a_broken_one_fail_alone(self, bench: Bench, pairs: FixedPairs, engine: str):
        items = (document(f"{SCAN}red"), document("red"), document(BROKEN))

        result = classify(bench, asked(engine=engine).model_copy(update={"items": items}))

        assert [len(answers) for answers in result.answers] == [0, 1, 0]
        assert [each.index for each in result.failed] == [0, 2]
        detail = result.failed[0].failure.detail
        assert detail.startswith(f"has no text, as a scan has none, and {engine} compares texts")
        assert [file.index for file in result.files] == [1]
        assert result.usage.input_tokens == 1

    @pytest.mark.parametrize("engine", ["nli", "hybrid"])
    def test_one_may_be_longer_than_a_text_but_not_than_the_pairs_of_a_call(
        self, bench: Bench, pairs: FixedPairs, engine: str
    ):
        most = bench.limits.max_input_tokens
        long = "red " * (most + 1)
        item = (document(long),)
        request = asked(engine=engine).model_copy(update={"items": item})

        assert classify(bench, request).item_tokens == (most + 1,)

        bench.classify._viewer = replace(bench.viewer, limits=replace(bench.limits, max_pairs=1))
        (failed,) = classify(bench, request).failed
        assert failed.failure.code == "INPUT_LABEL_LIMIT_EXCEEDED"
        assert "at most 1 pairs are allowed" in failed.failure.detail

    @pytest.mark.parametrize("engine", ["nli", "hybrid"])
    def test_all_of_a_call_share_its_pairs_and_those_of_a_batch_do_not(
        self, bench: Bench, pairs: FixedPairs, engine: str
    ):
        items = (Item(text="red"), document("green"), document("green"), document("a red rose"))
        request = asked(engine=engine).model_copy(update={"items": items})
        bench.classify._viewer = replace(bench.viewer, limits=replace(bench.limits, max_pairs=6))

        failed = classify(bench, request).failed

        assert [each.index for each in failed] == [3]
        assert failed[0].failure.code == "INPUT_LABEL_LIMIT_EXCEEDED"
        assert "about 8 pairs" in failed[0].failure.detail
        batch = bench.classify.begin(request, replace(CONTEXT, batch=True))
        assert batch.result(timeout_s=BOUND_S).failed == ()

    def test_a_call_that_is_cancelled_takes_its_pairs_back(self, bench: Bench, pairs: FixedPairs):
        pending = bench.classify.begin(
            asked().model_copy(update={"items": (document("red"),)}), CONTEXT
        )
        pending.cancel()

        assert pending.scores[0].cancelled() or pending.scores[0].done()
