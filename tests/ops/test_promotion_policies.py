"""The nights that compare gates: what is promoted and what is not, on two easy labels."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.promotion_policies import POLICIES, DataSet, lapse
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration


@pytest.fixture(scope="module")
def data() -> DataSet:
    rng = np.random.default_rng(3)
    prior = np.eye(2, 4, dtype=np.float32)
    y = [rng.integers(0, 2, 2000), rng.integers(0, 2, 1000)]
    x = [prior[some] + rng.normal(0.0, 0.6, (len(some), 4)) for some in y]
    unit = [(some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float32) for some in x]
    return DataSet(
        labels=("a", "b"),
        start=Learner.start(("a", "b"), prior, CosineCalibration(temperature=0.1)),
        x=(unit[0], unit[1]),
        y=(y[0], y[1]),
    )


@pytest.mark.parametrize(
    ("policy", "rejected", "promoted"),
    [("always promotes", 0, 24), ("knows the damaged nights", 6, 24)],
)
def test_policies_without_a_gate_take_and_leave_whole_nights(
    data: DataSet, policy: str, rejected: int, promoted: int
):
    found = lapse(data, POLICIES[policy], seed=0)

    assert (found.rejected, found.promoted, len(found.ends)) == (rejected, promoted, 31)


def test_a_guarded_gate_tells_most_damaged_nights(data: DataSet):
    found = lapse(data, POLICIES["minimum_gain -0.01, labels guarded"], seed=0)

    assert found.rejected >= 4
    assert found.promoted >= 12
