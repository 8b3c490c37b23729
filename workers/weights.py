"""A trained classifier as a file: safetensors, with all that is not an array in its header.

The header's `__metadata__` holds one entry, `pigeonhole`, whose JSON says model, revision,
dimensions, labels and counts, and what the learner needs beside its arrays. Nothing is executed
when a file is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import FieldError, InvalidRequest
from workers.core import zero_shot
from workers.core.learner import Learner
from workers.models.port import Rows

SCHEMA = 1
_ENTRY = "pigeonhole"
_SIZE_BYTES = 8  # of the header's length, little-endian, at the beginning of the file


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a classifier has learnt, and by which model. `counts` are examples per label."""

    model: str
    revision: str
    counts: tuple[int, ...]
    learner: Learner

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the scores."""
        return self.learner.labels

    @property
    def dimensions(self) -> int:
        """D of the model's vectors."""
        return int(self.learner.prior.shape[1])

    def scores(
        self,
        x: Rows,
        *,
        mode: zero_shot.Mode = "calibrated",
        multi_label: bool = False,  # noqa: ARG002  the probability of a label for itself is the same
    ) -> Rows:
        """A score per item (N, D) and label, (N, L): as `zero_shot.LabelSet.scores`.

        "raw" are the logits, "jina" their softmax.
        """
        if mode == "calibrated":
            return self.learner.scores(x)
        logits = self.learner.model.scores(x)
        return logits if mode == "raw" else zero_shot.single_label(logits, 1.0)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return sum(array.nbytes for array in self.learner.arrays().values())


def dumps(trained: Trained) -> bytes:
    """The file."""
    said = {
        "schema": SCHEMA,
        "model": trained.model,
        "revision": trained.revision,
        "dimensions": trained.dimensions,
        "labels": trained.labels,
        "counts": trained.counts,
        "learner": trained.learner.header(),
    }
    arrays = {name: np.ascontiguousarray(a) for name, a in trained.learner.arrays().items()}
    return save(arrays, metadata={_ENTRY: json.dumps(said)})


def loads(data: bytes) -> Trained:
    """Read a file back, to the bit.

    Raises:
        InvalidRequest: It is no such file, of another schema, or does not fit together.
    """
    try:
        arrays = load(data)
        size = int.from_bytes(data[:_SIZE_BYTES], "little")
        header = json.loads(data[_SIZE_BYTES : _SIZE_BYTES + size])
        said = json.loads(header["__metadata__"][_ENTRY])
    except (SafetensorError, ValueError, KeyError, TypeError) as exc:
        raise _refusal(f"is no file of weights of a classifier ({type(exc).__name__})") from None
    try:
        if said["schema"] != SCHEMA:
            raise _refusal(f"has schema {said['schema']!r}; this version reads {SCHEMA}")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise _refusal(f"holds numbers in {name!r} that are not finite")
        learner = Learner.from_arrays(said["learner"], arrays)
        trained = Trained(
            model=str(said["model"]),
            revision=str(said["revision"]),
            counts=tuple(int(count) for count in said["counts"]),
            learner=learner,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise _refusal(f"does not fit together: {exc}") from None
    if len(trained.counts) != len(learner.labels) or len(set(learner.labels)) != len(
        learner.labels
    ):
        raise _refusal("does not fit together: its labels and counts differ")
    return trained


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(f"file: {message}", fields=(FieldError(field="file", message=message),))
