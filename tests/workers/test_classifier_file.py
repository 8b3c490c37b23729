"""The file of a trained classifier: to the bit and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from shared.errors import InvalidRequest, LabelLimitExceeded
from shared.limits import Limits
from workers.classifier_file import TrainedClassifier, dumps, loads
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration


@pytest.fixture
def trained() -> TrainedClassifier:
    learner = Learner.start(
        ["red", "grün"], np.eye(2, 8, dtype=np.float32), CosineCalibration(temperature=0.1)
    )
    x = np.eye(8, dtype=np.float32)[:4]
    learner, _ = learner.learn(x, np.array([0, 1, 0, 1]))
    return TrainedClassifier(model="tiny", revision="1", counts=(2, 2), learner=learner)


def resaved(data: bytes, **changes: object) -> bytes:
    """The file with some of its header's values changed."""
    size = int.from_bytes(data[:8], "little")
    said = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["pigeonhole"])
    return save(load(data), metadata={"pigeonhole": json.dumps(said | changes)})


def taken_apart(trained: TrainedClassifier) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of the file and its metadata."""
    data = dumps(trained)
    size = int.from_bytes(data[:8], "little")
    return load(data), json.loads(data[8 : 8 + size])["__metadata__"]


def test_comes_back_to_the_bit(trained: TrainedClassifier):
    again = loads(dumps(trained))
    assert (again.model, again.revision, again.counts) == ("tiny", "1", (2, 2))
    assert again.labels == ("red", "grün")
    for name, array in trained.learner.arrays().items():
        assert np.array_equal(array, again.learner.arrays()[name]), name
    assert dumps(again) == dumps(trained)


def test_learns_on_as_if_it_had_never_been_away(trained: TrainedClassifier):
    x, y = np.eye(8, dtype=np.float32)[4:], np.array([1, 0, 1, 0])
    one, _ = trained.learner.learn(x, y)
    other, _ = loads(dumps(trained)).learner.learn(x, y)
    assert np.array_equal(one.scores(x), other.scores(x))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, "schema 2"),
        ({"counts": [1]}, "labels and counts differ"),
        ({"counts": None}, "is inconsistent"),
        ({"learner": {}}, "is inconsistent"),
        ({"learner": None}, "is inconsistent"),
        ({"labels": ["red", "blue"]}, "labels and counts differ"),
        ({"dimensions": 9}, r"prior has shape \(2, 8\), but must have \(2, 9\)"),
        ({"counts": [-1, 2]}, "out of range"),
        ({"counts": [10**400, 2]}, "out of range"),
        ({"counts": [1.5, 2]}, "not a whole number"),
        ({"counts": [float("inf"), 2]}, "not a classifier file"),
    ],
)
def test_refuses_a_header_that_does_not_fit(trained: TrainedClassifier, changes: dict, reason: str):
    with pytest.raises(InvalidRequest, match=reason):
        loads(resaved(dumps(trained), **changes))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["red", 2], "not a string"),
        (["red", ["green"]], "not a string"),
        (["red", " "], "not a string"),
        (["red", "red"], "twice"),
        (["red", "\ud800"], "surrogates"),
        ("ab", "not a string"),
    ],
)
def test_refuses_labels_that_are_none(trained: TrainedClassifier, labels: Any, reason: str):
    header = trained.learner.header() | {"labels": labels}
    if isinstance(labels, str):
        labels = list(labels)
        reason = "labels and counts differ"
    with pytest.raises(InvalidRequest, match=reason):
        loads(resaved(dumps(trained), learner=header, labels=labels))


@pytest.mark.parametrize(
    "changes",
    [
        {"seen": -1},
        {"seen": 1e400},
        {"heard": float("nan")},
        {"squares": -1.0},
        {"steps": "many"},
        {"kind": "PA-III"},
        {"aggressiveness": 0},
        {"scale": {"temperature": 0}},
        {"scale": {"temperature": 1, "other": 2}},
    ],
)
def test_refuses_a_learner_that_could_not_go_on(trained: TrainedClassifier, changes: dict):
    with pytest.raises(InvalidRequest):
        loads(resaved(dumps(trained), learner=trained.learner.header() | changes))


def test_refuses_a_header_nested_without_end(trained: TrainedClassifier):
    deep = save(load(dumps(trained)), metadata={"pigeonhole": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(InvalidRequest):
        loads(deep)


def test_a_small_file_cannot_ask_for_much_memory(trained: TrainedClassifier):
    arrays, metadata = taken_apart(trained)
    arrays["prior"] = np.ones((2, 200_000), np.float32)  # its second moments would take 320 GB
    with pytest.raises(InvalidRequest, match="prior"):
        loads(save(arrays, metadata=metadata))
    said = json.loads(metadata["pigeonhole"]) | {"dimensions": 200_000}
    with pytest.raises(InvalidRequest, match="second"):
        loads(save(arrays, metadata={"pigeonhole": json.dumps(said)}))


def test_a_stranger_s_file_has_no_more_labels_than_are_allowed(trained: TrainedClassifier):
    data = dumps(trained)
    assert loads(data, limits=Limits(max_classifier_labels=2)).labels == ("red", "grün")
    with pytest.raises(LabelLimitExceeded):
        loads(data, limits=Limits(max_classifier_labels=1))
    with pytest.raises(InvalidRequest, match="more than 3 characters"):
        loads(data, limits=Limits(max_label_chars=3))


@pytest.mark.parametrize("dtype", [np.int8, np.bool_, np.float16, np.float64])
def test_refuses_arrays_of_another_type(trained: TrainedClassifier, dtype: type):
    arrays, metadata = taken_apart(trained)
    arrays["rows"] = arrays["rows"].astype(dtype)
    with pytest.raises(InvalidRequest, match="must have float32"):
        loads(save(arrays, metadata=metadata))


def test_refuses_arrays_that_are_not_known(trained: TrainedClassifier):
    arrays, metadata = taken_apart(trained)
    with pytest.raises(InvalidRequest, match="extra"):
        loads(save({**arrays, "extra": np.zeros(8)}, metadata=metadata))


def test_refuses_arrays_of_another_shape(trained: TrainedClassifier):
    arrays, metadata = taken_apart(trained)
    arrays["rows"] = arrays["rows"][:, :3].copy()
    with pytest.raises(InvalidRequest, match="rows"):
        loads(save(arrays, metadata=metadata))


def test_a_stranger_s_file_that_was_exported_is_taken(trained: TrainedClassifier):
    fresh = Learner.start(
        ["a", "b"], np.eye(2, 8, dtype=np.float32), CosineCalibration(temperature=0.1)
    )
    chance = np.random.default_rng(1)
    x = chance.standard_normal((50, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    heavy, _ = fresh.learn(
        x,
        np.arange(50) % 2,
        weights=chance.uniform(0.01, 1000, 50),
        iters=chance.integers(1, 100, 50),
    )
    grown = heavy.grow(["c"], np.eye(8, dtype=np.float32)[2:3])
    for learner in (fresh, heavy, grown, trained.learner):
        counts = (1,) * len(learner.labels)
        sent = TrainedClassifier(model="tiny", revision="1", counts=counts, learner=learner)
        assert loads(dumps(sent), limits=Limits()).labels == learner.labels


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("rows", lambda a: a * 0 + 3e38, "rows must be"),
        ("bias", lambda a: a * 0 - 3e38, "bias must be"),
        ("prior", lambda a: a * 0 + 3e38, "prior must be"),
        ("prior", lambda a: a * 100, "prior: the length of a row must be 0 to 1.01"),
        ("margins", lambda a: a * 0 + 1e20, "margins must be"),
        ("margins_lag", lambda a: a * 0 + 1e20, "margins_lag must be"),
        ("clouds", lambda a: a - 1e6, "clouds must be"),
        ("calibration", lambda a: a + 1e300, "calibration must be"),
        ("counts", lambda a: a + 1e300, "counts must be"),
        ("counts", lambda a: a * 3, "trace of 'second'"),
        ("sums", lambda a: a + 1e300, "longer than the count"),
        ("sums", lambda a: a + 1e4, "longer than the count"),
        ("second", lambda a: a * 1e300, "second must be"),
        ("second", lambda a: a * 2, "trace of 'second'"),
        ("second", lambda a: np.triu(a + 0.5), "not symmetric"),
        ("second", lambda a: np.eye(8)[::-1] * 1500 + np.eye(8) * a.trace() / 8, "of any examples"),
    ],
)
def test_a_stranger_s_numbers_are_those_of_something_learnt(
    trained: TrainedClassifier, name: str, change: Any, reason: str
):
    arrays, metadata = taken_apart(trained)
    arrays[name] = change(arrays[name]).astype(arrays[name].dtype)
    with pytest.raises(InvalidRequest, match=reason):
        loads(save(arrays, metadata=metadata), limits=Limits())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": {"temperature": -1.0}}, "temperature"),
        ({"scale": {"temperature": 1e-310}}, "temperature must be 1e-06 to 1e"),
        ({"scale": {"temperature": 1e300}}, "temperature must be"),
        ({"scale": {"temperature": True, "by_spread": 3}}, "by_spread must be true or false"),
        ({"scale": {"temperature": 0.1, "null_bias": 1e300}}, "null_bias must be"),
        ({"aggressiveness": 1e-310}, "aggressiveness must be"),
        ({"squares": 0.0}, "'squares' does not match"),
        ({"squares": 1e15}, "'squares' does not match"),
        ({"seen": 0}, "'squares' does not match"),
    ],
)
def test_a_stranger_s_header_fits_its_numbers(
    trained: TrainedClassifier, changes: dict, reason: str
):
    data = resaved(dumps(trained), learner=trained.learner.header() | changes)
    with pytest.raises(InvalidRequest, match=reason):
        loads(data, limits=Limits())
