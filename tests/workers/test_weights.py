"""The file of a trained classifier: to the bit and back, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from shared.errors import InvalidRequest
from workers.core.learner import Learner
from workers.core.zero_shot import Scale
from workers.weights import Trained, dumps, loads


@pytest.fixture
def trained() -> Trained:
    learner = Learner.start(["red", "grün"], np.eye(2, 8, dtype=np.float32), Scale(temperature=0.1))
    x = np.eye(8, dtype=np.float32)[:4]
    learner, _ = learner.learn(x, np.array([0, 1, 0, 1]))
    return Trained(model="tiny", revision="1", counts=(2, 2), learner=learner)


def resaved(data: bytes, **changes: object) -> bytes:
    """The file with some of its header's values changed."""
    size = int.from_bytes(data[:8], "little")
    said = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["pigeonhole"])
    return save(load(data), metadata={"pigeonhole": json.dumps(said | changes)})


def test_comes_back_to_the_bit(trained: Trained):
    again = loads(dumps(trained))
    assert (again.model, again.revision, again.counts) == ("tiny", "1", (2, 2))
    assert again.labels == ("red", "grün")
    for name, array in trained.learner.arrays().items():
        assert np.array_equal(array, again.learner.arrays()[name]), name
    assert dumps(again) == dumps(trained)


def test_learns_on_as_if_it_had_never_been_away(trained: Trained):
    x, y = np.eye(8, dtype=np.float32)[4:], np.array([1, 0, 1, 0])
    one, _ = trained.learner.learn(x, y)
    other, _ = loads(dumps(trained)).learner.learn(x, y)
    assert np.array_equal(one.scores(x), other.scores(x))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, "schema 2"),
        ({"counts": [1]}, "labels and counts differ"),
        ({"counts": None}, "does not fit"),
        ({"learner": {}}, "does not fit"),
        ({"learner": None}, "does not fit"),
    ],
)
def test_refuses_a_header_that_does_not_fit(trained: Trained, changes: dict, reason: str):
    with pytest.raises(InvalidRequest, match=reason):
        loads(resaved(dumps(trained), **changes))


def test_refuses_arrays_of_another_shape(trained: Trained):
    data = dumps(trained)
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    arrays = load(data)
    arrays["rows"] = arrays["rows"][:, :3].copy()
    with pytest.raises(InvalidRequest, match="rows"):
        loads(save(arrays, metadata=metadata))


def test_refuses_a_label_that_stands_twice(trained: Trained):
    data = dumps(trained)
    header = trained.learner.header() | {"labels": ["red", "red"]}
    with pytest.raises(InvalidRequest):
        loads(resaved(data, learner=header))
