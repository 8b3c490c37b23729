"""A trained classifier as a file: safetensors, with all that is not an array in its header.

The header's `__metadata__` holds one entry, `pigeonhole`, whose JSON says model, revision,
dimensions, labels and counts, and what the learner needs beside its arrays. Nothing is executed
when a file is read.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import FieldError, InvalidRequest
from shared.limits import Limits
from workers import classifier_file_limits
from workers.core.classifier_scorer import ClassifierScorer
from workers.core.learner import Learner
from workers.core.passive_aggressive import Kind
from workers.core.zero_shot import CosineCalibration

SCHEMA = 1
_ENTRY = "pigeonhole"
_SIZE_BYTES = 8  # of the header's length, little-endian, at the beginning of the file
_MOST = 2.0**53  # the whole numbers below it are exact, whatever reads them


@dataclass(frozen=True, kw_only=True)
class TrainedClassifier:
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

    @property
    def scorer(self) -> ClassifierScorer:
        """What classifying needs of it, made anew."""
        return ClassifierScorer.of(self.learner, model=self.model, revision=self.revision)


def dumps(trained: TrainedClassifier) -> bytes:
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


def loads(data: bytes, *, limits: Limits | None = None) -> TrainedClassifier:
    """Read a file back, to the bit.

    What is worked out of the arrays grows with the square of labels and dimensions, so the file has
    to be as large as it says before anything is: one of some KiB must not take all memory.

    Args:
        data: The file.
        limits: What a file may hold that a stranger sent; None where it was written here.

    Raises:
        InvalidRequest: It is no such file, of another schema, or does not fit together; or a label
            is longer than `limits` allow.
        LabelLimitExceeded: It has more labels than `limits` allow.
    """
    try:
        arrays = load(data)
        size = int.from_bytes(data[:_SIZE_BYTES], "little")
        header = json.loads(data[_SIZE_BYTES : _SIZE_BYTES + size])
        said = json.loads(
            header["__metadata__"][_ENTRY], parse_constant=_finite, parse_float=_finite
        )
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise _refusal(f"is not a classifier file ({type(exc).__name__})") from None
    try:
        if said["schema"] != SCHEMA:
            raise _refusal(f"has schema {said['schema']!r}, but this version reads {SCHEMA}")
        _check_labels(said)
        if limits is not None:
            limits.check_classifier_labels(len(said["labels"]))
            if any(len(label) > limits.max_label_chars for label in said["labels"]):
                raise _refusal(f"has a label of more than {limits.max_label_chars} characters")
        _check_arrays(said, arrays)
        with np.errstate(all="ignore"):  # what overflows is refused by the check
            learner = Learner.from_arrays(said["learner"], arrays)
            if limits is not None:
                classifier_file_limits.check(learner)
        return TrainedClassifier(
            model=str(said["model"]),
            revision=str(said["revision"]),
            counts=tuple(said["counts"]),
            learner=learner,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as exc:
        raise _refusal(f"is inconsistent: {exc}") from None


def _check_labels(said: dict[str, Any]) -> None:
    """Refuse labels that are none, and numbers that nothing counts to.

    Raises:
        ValueError: The labels differ from the learner's or from the counts, or are no words; or a
            number is below 0.
    """
    labels, counts, learner = said["labels"], said["counts"], said["learner"]
    if labels != learner["labels"] or len(labels) != len(counts):
        raise ValueError("the numbers of labels and counts differ")
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError("a label is not a string")
    "".join(labels).encode()  # half of a surrogate pair could never be answered
    if len(set(labels)) != len(labels):
        raise ValueError("a label occurs twice")
    numbers = [*counts, *(learner[name] for name in ("seen", "heard", "steps"))]
    # Examples of weight 1,000 and 100 iterations have squares of 1e18 each.
    small = all(0 <= number <= _MOST for number in numbers)
    if not small or not 0 <= learner["squares"] <= _MOST**2:
        raise ValueError("a number is out of range")
    if not all(type(count) is int for count in (*counts, learner["seen"])):
        raise ValueError("a count is not a whole number")
    if learner["kind"] not in get_args(Kind) or not 0 < learner["aggressiveness"] <= _MOST:
        raise ValueError("its learning method is unknown")


def _check_arrays(said: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays that are not those of as many labels and dimensions as the header says.

    Raises:
        ValueError: One is missing or not known, or has another type or shape, or holds a number
            that is none.
    """
    count, dimensions = len(said["labels"]), said["dimensions"]
    expected = {"prior": (count, dimensions), "second": (dimensions, dimensions)}  # (L, D), (D, D)
    dtypes = _dtypes()
    if arrays.keys() != dtypes.keys():
        names = ", ".join(sorted(arrays.keys() ^ dtypes.keys()))
        raise ValueError(f"these arrays are missing or unknown: {names[:200]}")
    for name, array in sorted(arrays.items()):  # the order of a file is any
        if array.dtype != dtypes[name]:
            raise ValueError(f"{name} has type {array.dtype}, but must have {dtypes[name]}")
        if array.shape != expected.get(name, array.shape):
            raise ValueError(f"{name} has shape {array.shape}, but must have {expected[name]}")
        if not np.isfinite(array).all():
            raise ValueError(f"it holds numbers in {name!r} that are not finite")
    if (arrays["counts"] < 0).any():
        raise ValueError("a label has a negative number of examples")


@cache
def _dtypes() -> dict[str, np.dtype[Any]]:
    """The types of a learner's arrays, by name."""
    least = Learner.start(
        ["label"], np.ones((1, 1), np.float32), CosineCalibration(temperature=1.0)
    )
    return {name: array.dtype for name, array in least.arrays().items()}


def _finite(text: str) -> float:
    """A number of the header: JSON knows neither NaN nor infinity, Python reads both.

    Raises:
        ValueError: It is not finite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number")
    return number


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(f"file: {message}", fields=(FieldError(field="file", message=message),))
