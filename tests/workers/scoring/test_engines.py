"""Engines answer with a future of scores that waits for views and labels, and cancels neither."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

import numpy as np
import pytest

from shared.errors import Conflict
from shared.model_catalogue import ModelEntry
from shared.types import ClassifierVersion, ClassifyRequest, Priority, Question
from tests.workers.conftest import Bench, a_request
from tests.workers.handlers.test_train import a_job, creation, hold
from workers.core.zero_shot import CosineCalibration, LabelSet
from workers.embedding.labels import Labels
from workers.embedding.pooling import ViewBatch
from workers.scoring.few_shot import FewShotEngine
from workers.scoring.scores import Scores, Targets
from workers.scoring.zero_shot import ZeroShotEngine, ZeroShotScores
from workers.work_context import WorkContext

BOUND_S = 60.0
CONTEXT = WorkContext(priority=Priority.STANDARD)
TEXTS = ("a red rose", "green grass", "red")


@pytest.fixture
def views(bench: Bench) -> Future[ViewBatch]:
    request = a_request(*TEXTS)
    return bench.viewer.look(bench.models["tiny"], request.items, request.files, CONTEXT)


def zero_shot(bench: Bench, request: ClassifyRequest, views: Future[ViewBatch]) -> Future[Scores]:
    engine, (question,) = ZeroShotEngine(bench.limits), request.questions
    return engine.begin(bench.models["tiny"], request, question, views, CONTEXT)


def version(bench: Bench) -> ClassifierVersion:
    body = creation()
    bench.train.train(a_job(), body, hold())
    record, _ = bench.classifiers.records.load("acme", body.classifier_id)
    return record.weights(record.latest)


def test_zero_shot_scores_every_view_by_every_label(bench: Bench, views: Future[ViewBatch]):
    scores = zero_shot(bench, a_request(return_fit=True), views).result(BOUND_S)

    assert (scores.labels, scores.label_tokens, scores.alike) == (("red", "green"), 2, ())
    assert scores.scores().argmax(axis=1).tolist() == [0, 1, 0]
    assert scores.scores(mode="raw").shape == (3, 2)
    assert scores.fits().shape == (3, 1)
    targets = Targets.of(views.result(0))
    assert np.array_equal(targets.mean(scores.scores()), scores.scores())


def test_few_shot_scores_as_the_learner_does(bench: Bench, views: Future[ViewBatch]):
    weights = version(bench)
    engine = FewShotEngine(bench.classifiers)

    scores = engine.begin(bench.models["tiny"], weights, views).result(BOUND_S)

    learner = bench.classifiers.load(weights).learner
    assert (scores.labels, scores.label_tokens) == (learner.labels, 0)
    assert np.array_equal(scores.scores(), learner.scores(views.result(0).x))


def test_a_classifier_of_another_revision_is_an_error_of_the_future(
    bench: Bench, views: Future[ViewBatch]
):
    weights = version(bench)
    bench.encoder.revision = "2"
    future = FewShotEngine(bench.classifiers).begin(bench.models["tiny"], weights, views)
    with pytest.raises(Conflict, match="at revision 2"):
        future.result(BOUND_S)


def test_views_that_are_cancelled_end_the_scores_and_not_the_labels_of_others(bench: Bench):
    bench.encoder.free.clear()
    engine, request = ZeroShotEngine(bench.limits), a_request(*TEXTS)
    (question,) = request.questions
    model = bench.models["tiny"]
    both = [bench.viewer.look(model, request.items, request.files, CONTEXT) for _ in range(2)]
    gone, other = (engine.begin(model, request, question, each, CONTEXT) for each in both)

    both[0].cancel()
    bench.encoder.free.set()

    with pytest.raises(CancelledError):
        gone.result(BOUND_S)
    assert other.result(BOUND_S).scores().shape == (3, 2)


@pytest.mark.parametrize("text_width", [3, 5])
def test_views_of_two_models_are_each_compared_with_labels_of_their_own_model(text_width: int):
    width, page_width = max(text_width, 4), 4
    scale = CosineCalibration(temperature=0.1, by_spread=False)
    entry = ModelEntry(name="tiny", engine="hashing")
    labels = {
        images: Labels(
            scored=LabelSet.measure(np.eye(2, size, dtype=np.float32), scale=scale),
            tokens=2,
            described=None,
            alike=(),
        )
        for images, size in ((False, text_width), (True, page_width))
    }
    x = np.zeros((2, width), np.float32)
    x[0, 0] = x[1, 1] = 1.0

    def best(of_images: list[bool]) -> list[int]:
        views = ViewBatch(
            x=x[: len(of_images)],
            of_images=np.array(of_images, np.bool_),
            text_tokens=np.zeros(len(of_images), np.intp),
            items=None,
            tokens=(),
        )
        question = Question(labels=("a", "b"))
        scores = ZeroShotScores(question=question, views=views, sets=labels, entry=entry)
        return [int(place) for place in scores.scores().argmax(axis=1)]

    for of_images in ([False, True], [True, True], [False, False], []):
        assert best(of_images) == [0, 1][: len(of_images)]
