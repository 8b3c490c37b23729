"""Labels renamed, merged and taken away: as a version, once, and in the examples that are kept."""

from __future__ import annotations

import numpy as np
import pytest

import api.services.classifiers
from shared import ids
from shared.classifier_record import Classifier
from shared.classifier_requests import RebuildRequest, RelabelRequest
from shared.errors import Conflict, InvalidLabels, InvalidRequest, NotFound
from shared.training_results import TrainResult
from shared.types import JobKind, Priority
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import a_job, creation, examples, hold, record, update
from workers.classifier_file import TrainedClassifier
from workers.handlers import example_store
from workers.handlers.training_set import wait
from workers.work_context import WorkContext

PAIRS = (
    ("a red rose", "red"),
    ("green grass", "green"),
    ("red wine", "red"),
    ("a crimson coat", "crimsn"),
    ("the blue sky", "blue"),
    ("crimson blood", "crimsn"),
)


@pytest.fixture
def made(bench: Bench) -> str:
    return create(bench, *PAIRS, keep_examples=True)


def create(bench: Bench, *pairs: tuple[str, str], keep_examples: bool = False) -> str:
    body = creation(keep_examples=keep_examples)
    bench.train.train(a_job(), body.model_copy(update={"examples": examples(*pairs)}), hold())
    return body.classifier_id


def relabel(bench: Bench, classifier_id: str, **labels: str | None) -> TrainResult:
    body = RelabelRequest(model="tiny", classifier_id=classifier_id, labels=labels)
    return bench.train.relabel(a_job(JobKind.RELABEL), body, hold())


def rebuild(bench: Bench, classifier_id: str) -> TrainResult:
    body = RebuildRequest(model="tiny", classifier_id=classifier_id)
    return bench.train.rebuild(a_job(JobKind.REBUILD), body, hold())


def trained(bench: Bench, stored: Classifier) -> TrainedClassifier:
    return bench.classifiers.load(stored.weights(stored.latest))


def labels_kept(bench: Bench, classifier_id: str) -> list[str | None]:
    return [each.label for each in example_store.get(bench.store, record(bench, classifier_id))]


def test_makes_a_version_and_leaves_the_one_before_as_it_was(bench: Bench, made: str):
    before = record(bench, made)
    learnt = trained(bench, before)

    result = relabel(bench, made, crimsn="crimson", blue=None)

    after = record(bench, made)
    assert (result.version, result.num_samples, result.usage.total_tokens) == (2, 0, 0)
    assert result.report.labels == after.labels == ("red", "green", "crimson")
    assert result.report.counts == (2, 1, 2)
    assert (after.latest.made_by, after.latest.samples, after.latest.label_count) == (
        "relabel",
        5,
        3,
    )
    assert after.versions[0] == before.latest
    assert trained(bench, before).labels == learnt.labels == ("red", "green", "crimsn", "blue")


def test_aliases_stay_where_they_are(bench: Bench, made: str):
    now = record(bench, made)
    bench.classifiers.records.change(
        now.account, made, lambda old: old.model_copy(update={"aliases": {"champion": 1}})
    )

    relabel(bench, made, crimsn="crimson")

    assert record(bench, made).aliases == {"champion": 1}


def test_a_new_name_is_embedded_and_a_known_one_keeps_its_vector(bench: Bench, made: str):
    before = trained(bench, record(bench, made))

    relabel(bench, made, crimsn="red", blue="azure")

    after = trained(bench, record(bench, made))
    other = create(bench, ("a", "azure"), ("b", "red"))
    assert after.labels == ("red", "green", "azure")
    assert np.array_equal(after.learner.prior[:2], before.learner.prior[:2])
    assert np.array_equal(
        after.learner.prior[2], trained(bench, record(bench, other)).learner.prior[0]
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"crimsn": "crimson"},
        {"crimsn": "red"},
        {"crimsn": "warm", "red": "warm"},
        {"blue": None, "crimsn": "red"},
        {"red": "green", "green": "red"},
    ],
)
def test_a_rebuild_equals_training_on_the_renamed_examples(
    bench: Bench, made: str, labels: dict[str, str | None]
):
    relabel(bench, made, **labels)

    rebuild(bench, made)

    renamed = [(text, labels.get(label, label)) for text, label in PAIRS]
    other = create(bench, *((text, label) for text, label in renamed if label is not None))
    found, wanted = (trained(bench, record(bench, each)) for each in (made, other))
    assert (found.labels, found.counts) == (wanted.labels, wanted.counts)
    for name, array in wanted.learner.arrays().items():
        assert np.array_equal(found.learner.arrays()[name], array), name


def test_examples_of_later_calls_keep_their_labels(bench: Bench, made: str):
    relabel(bench, made, blue="azure")
    bench.train.train(a_job(), update(made, ("blue jeans", "blue")), hold())
    relabel(bench, made, crimsn=None)

    assert labels_kept(bench, made) == ["red", "green", "red", "azure", "blue"]
    assert rebuild(bench, made).num_samples == 5


def test_a_rollback_finds_the_old_names(bench: Bench, made: str):
    relabel(bench, made, crimsn="crimson")
    named = api.services.classifiers.ClassifierService(
        store=bench.store, max_classifiers=9, versions_kept=9
    )

    named.roll_back("acme", made, version=1, alias=None)

    assert labels_kept(bench, made) == [label for _, label in PAIRS]
    rebuild(bench, made)
    assert "crimsn" in record(bench, made).labels


def test_labels_are_found_in_any_spelling(bench: Bench, made: str):
    bench.train.train(a_job(), update(made, ("a red sky", "red\u00a0")), hold())

    relabel(bench, made, **{" red": "scarlet"})

    assert labels_kept(bench, made).count("scarlet") == 3


def test_without_kept_examples_nothing_is_written_for_them(bench: Bench):
    made = create(bench, *PAIRS)

    relabel(bench, made, crimsn="red")

    assert example_store.get(bench.store, record(bench, made)) == []
    assert not any("/examples/" in name for name in bench.store.objects)


def test_merged_scores_are_those_of_the_merged_label(bench: Bench):
    pairs = tuple((f"{colour} {n}", colour) for n in range(12) for colour in ("red", "rose", "sea"))
    made = create(bench, *pairs)

    relabel(bench, made, rose="red")

    other = create(bench, *((text, "red" if label == "rose" else label) for text, label in pairs))
    found, wanted = (trained(bench, record(bench, each)) for each in (made, other))
    embedder, context = bench.models["tiny"].embedder, WorkContext(priority=Priority.FAST)
    x = wait(embedder.embed_prompts(["rose 3", "red 40", "sea 3"], context))
    assert found.learner.scores(x).argmax(axis=1).tolist() == [0, 0, 1]
    assert np.abs(found.learner.scores(x) - wanted.learner.scores(x)).max() < 0.1


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ({"mauve": "purple"}, InvalidRequest),
        ({"red": None, "green": None, "blue": None}, InvalidLabels),
    ],
)
def test_refuses_what_cannot_be(
    bench: Bench, made: str, labels: dict[str, str | None], error: type[Exception]
):
    with pytest.raises(error):
        relabel(bench, made, **labels)

    assert record(bench, made).latest.number == 1


def test_a_classifier_that_is_gone(bench: Bench):
    with pytest.raises(NotFound):
        relabel(bench, ids.classifier_id(), a="b")


def test_run_twice_makes_one_version(bench: Bench, made: str):
    body = RelabelRequest(model="tiny", classifier_id=made, labels={"crimsn": "crimson"})
    job = a_job(JobKind.RELABEL)
    bench.train.relabel(job, body, hold())
    stored = dict(bench.store.objects)

    again = bench.train.relabel(job, body, hold())

    assert again.version == 2
    assert {n: o.data for n, o in bench.store.objects.items()} == {
        n: o.data for n, o in stored.items()
    }


def test_examples_are_not_read_before_the_change_of_labels_is_there(bench: Bench, made: str):
    relabel(bench, made, crimsn="crimson")
    example_store.delete(bench.store, record(bench, made), 2)  # as if it were to be written yet

    with pytest.raises(Conflict, match="try again"):
        rebuild(bench, made)


def test_one_that_was_faster_is_built_upon(
    bench: Bench, made: str, monkeypatch: pytest.MonkeyPatch
):
    commit, calls = bench.classifiers.commit, []

    def slow(*given: object) -> object:
        if not calls:
            calls.append(1)
            bench.train.train(a_job(), update(made, ("a blue car", "blue")), hold())
        return commit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.classifiers, "commit", slow)
    # The turn of a classifier is held by one trainer of a process; another process has its own.
    monkeypatch.setattr(bench.classifiers, "turn", lambda _: _Free())
    result = relabel(bench, made, blue="azure")

    assert result.version == 3
    assert dict(zip(result.report.labels, result.report.counts, strict=True))["azure"] == 2


class _Free:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
