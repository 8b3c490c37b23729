"""Judging a classifier on in-memory ports: the numbers, the drawings, what is refused."""

from __future__ import annotations

from xml.dom import minidom

import numpy as np
import pytest

from shared import ids, object_keys
from shared.errors import Conflict, LabelLimitExceeded, NotFound
from shared.evaluation_results import EvaluateResult
from shared.types import ClassifierVersion, EvaluateRequest, ExampleFile, JobKind
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import ME, a_job, creation, examples, hold
from workers import plots

PLOTS = {
    "confusion_matrix.png": b"\x89PNG",
    "confusion_matrix.svg": b"<?xml",
    "reliability.png": b"\x89PNG",
    "reliability.svg": b"<?xml",
}


@pytest.fixture
def weights(bench: Bench) -> ClassifierVersion:
    body = creation()
    bench.train.train(a_job(), body, hold())
    record, _ = bench.classifiers.records.load(ME, body.classifier_id)
    return record.weights(record.latest)


def evaluate(
    bench: Bench, weights: ClassifierVersion, *pairs: tuple[str, str | None], job: object = None
) -> EvaluateResult:
    body = EvaluateRequest(
        model="tiny",
        classifier=weights,
        examples=examples(*pairs),  # type: ignore[arg-type]
    )
    return bench.evaluate.run(job or a_job(JobKind.EVALUATE), body, hold())  # type: ignore[arg-type]


@pytest.mark.slow
def test_counts_what_is_right(bench: Bench, weights: ClassifierVersion):
    pairs = (("a red rose", "red"), ("red wine", "green"), ("green grass", "green"))
    job = a_job(JobKind.EVALUATE)
    result = evaluate(bench, weights, *pairs, job=job)
    assert result.num_samples == 3
    assert result.usage.input_tokens == 7
    assert result.accuracy == pytest.approx(2 / 3, abs=1e-6)
    assert result.confusion == ((1, 0), (1, 1))
    assert [(q.label, q.support) for q in result.labels] == [("red", 1), ("green", 2)]
    assert result.labels[0].precision == 0.5
    assert result.labels[1].recall == 0.5
    assert result.macro_f1 == pytest.approx(2 / 3, abs=1e-5)
    assert sum(b.count for b in result.reliability) == 3
    for file, beginning in PLOTS.items():
        drawn = bench.store.get(object_keys.plot(ME, job.id, file)).data
        assert drawn.startswith(beginning)
    assert set(result.plots) == set(PLOTS)


def test_ranks_what_has_no_label_by_doubt(bench: Bench, weights: ClassifierVersion):
    pairs = (("a red rose", "red"), ("something else", None), ("green grass", None))
    found = evaluate(bench, weights, *pairs).worth_labelling
    assert [w.index for w in found] == [1, 2]
    assert found[0].margin <= found[1].margin


def test_ranks_everything_where_all_have_labels(bench: Bench, weights: ClassifierVersion):
    found = evaluate(bench, weights, ("a red rose", "red"), ("grass", "green")).worth_labelling
    assert {w.index for w in found} == {0, 1}


def test_draws_labels_of_any_letters(bench: Bench):
    strange = ("$x^$ <&> \\frac", "日本語", "🙂 smile", "a" * 200, "عربي")
    body = creation().model_copy(
        update={"examples": examples(*((f"text {i}", s) for i, s in enumerate(strange)))}
    )
    bench.train.train(a_job(), body, hold())
    record, _ = bench.classifiers.records.load(ME, body.classifier_id)
    pairs = tuple((f"text {i}", s) for i, s in enumerate(strange))
    assert evaluate(bench, record.weights(record.latest), *pairs).num_samples == 5


@pytest.mark.parametrize("letters", ["a\x00b", "a\x1bb", "a\nb", "\ufffe", "\u202eabc"])
def test_drawings_are_xml_whatever_a_label_holds(letters: str):
    drawn = plots.confusion_matrix((letters, "other"), np.eye(2, dtype=np.intp))

    minidom.parseString(drawn["confusion_matrix.svg"])


@pytest.mark.slow
def test_a_label_that_the_version_does_not_know_counts_as_wrong(
    bench: Bench, weights: ClassifierVersion
):
    result = evaluate(bench, weights, ("a red rose", "red"), ("a blue sky", "blue"))

    assert [each.label for each in result.labels] == ["red", "green", "blue"]
    assert result.accuracy == 0.5
    blue = result.labels[2]
    assert (blue.support, blue.recall, blue.f1, blue.threshold) == (1, 0.0, 0.0, 0.5)
    assert [sum(row) for row in result.confusion] == [1, 0, 1]
    assert [row[2] for row in result.confusion] == [0, 0, 0]


@pytest.mark.slow
def test_another_spelling_of_a_label_is_that_label(bench: Bench, weights: ClassifierVersion):
    result = evaluate(bench, weights, ("a red rose", "red\u00a0"), ("a red car", "\u200bred"))

    assert [each.label for each in result.labels] == ["red", "green"]
    assert result.accuracy == 1.0


def test_refuses_more_labels_than_a_classifier_may_have(bench: Bench, weights: ClassifierVersion):
    pairs = tuple((f"text {i}", f"label {i}") for i in range(bench.limits.max_classifier_labels))
    with pytest.raises(LabelLimitExceeded, match="would have 1026"):
        evaluate(bench, weights, *pairs)


def test_refuses_a_version_that_is_gone(bench: Bench, weights: ClassifierVersion):
    gone = weights.model_copy(update={"file": f"9-{ids.token()}"})
    with pytest.raises(NotFound):
        evaluate(bench, gone, ("a", "red"))


def test_refuses_another_revision(bench: Bench, weights: ClassifierVersion):
    bench.encoder.revision = "2"
    with pytest.raises(Conflict):
        evaluate(bench, weights, ("a", "red"))


def test_the_same_examples_are_judged_and_charged_once(bench: Bench, weights: ClassifierVersion):
    first = evaluate(bench, weights, ("a red rose", "red"), ("a blue sky", "blue"))
    ran = bench.encoder.ran

    again = evaluate(bench, weights, ("a red rose", "red"), ("a blue sky", "blue"))

    assert bench.encoder.ran == ran
    assert again.usage.total_tokens == 0 < first.usage.total_tokens
    assert again.model_copy(update={"usage": first.usage}) == first
    assert set(again.plots) == set(PLOTS)
    other = evaluate(bench, weights, ("a red rose", "green"), ("a blue sky", "blue"))
    assert other.accuracy != first.accuracy


def test_examples_may_lie_in_a_bucket(bench: Bench, weights: ClassifierVersion):
    bench.buckets.objects["s3://inbox/rows/a.csv"] = b"text,label\na red rose,red\n"
    file = ExampleFile(url="s3://inbox/rows/a.csv", kept=True)
    body = EvaluateRequest(model="tiny", classifier=weights, file=file)

    assert bench.evaluate.run(a_job(JobKind.EVALUATE), body, hold()).num_samples == 1
