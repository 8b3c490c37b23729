"""Files of weights as the service exports them, and broken ones, for tests of the front end."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np

from workers.classifier_file import TrainedClassifier, dumps
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration
from workers.models.hashing import HashingEncoder


@cache
def classifier_file(
    labels: tuple[str, ...] = ("p", "q"), *, examples: int = 1, model: str = "tiny"
) -> bytes:
    """A file of a classifier of the hashing model, which has learnt the name of each label."""
    encoder = HashingEncoder()
    x = encoder.encode(encoder.tokenise(labels))  # (L, D)
    learner = Learner.start(list(labels), x, CosineCalibration(temperature=0.1))
    for _ in range(examples):
        learner, _ = learner.learn(x, np.arange(len(labels)))
    counts = (examples,) * len(labels)
    return dumps(
        TrainedClassifier(model=model, revision=encoder.revision, counts=counts, learner=learner)
    )


def weights_file(*, arrays: bytes = b"\0" * 64, **said: Any) -> bytes:
    """A file with the header of a classifier, and other arrays.

    `said` changes what the header says; None leaves it out.
    """
    own = {
        "schema": 1,
        "model": "tiny",
        "revision": "1",
        "dimensions": 8,
        "labels": ["p", "q"],
        **said,
    }
    own = {key: value for key, value in own.items() if value is not None}
    return safetensors({"pigeonhole": json.dumps(own)}, arrays)


def safetensors(metadata: object, arrays: bytes = b"") -> bytes:
    """A file with one array, and this metadata."""
    header: dict[str, Any] = {
        "prior": {"dtype": "F32", "shape": [len(arrays) // 4], "data_offsets": [0, len(arrays)]}
    }
    if metadata is not None:
        header["__metadata__"] = metadata
    data = json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + arrays
