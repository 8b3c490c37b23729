"""The file format of a trained classifier: safetensors with JSON metadata.

The `__metadata__` of the header has one entry, `pigeonhole`: JSON with model, revision, dimensions,
labels, counts and the scalar state of the learner. Reading a file executes no code.
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
_SIZE_BYTES = 8  # size of the header length, little-endian, at the beginning of the file
_MOST = 2.0**53  # integers below it are exact in every JSON reader


@dataclass(frozen=True, kw_only=True)
class TrainedClassifier:
    """A trained classifier and its model. `counts` are examples per label."""

    model: str
    revision: str
    counts: tuple[int, ...]
    learner: Learner

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
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
    """Encode a classifier as a file."""
    header = {
        "schema": SCHEMA,
        "model": trained.model,
        "revision": trained.revision,
        "dimensions": trained.dimensions,
        "labels": trained.labels,
        "counts": trained.counts,
        "learner": trained.learner.header(),
    }
    arrays = {name: np.ascontiguousarray(a) for name, a in trained.learner.arrays().items()}
    return save(arrays, metadata={_ENTRY: json.dumps(header)})


def loads(data: bytes, *, limits: Limits | None = None) -> TrainedClassifier:
    """Decode a classifier file; the round trip is exact to the bit.

    The derived arrays grow with the square of labels and dimensions. The array shapes are therefore
    checked against the metadata first: a file of a few KiB must not exhaust the memory.

    Args:
        data: The file.
        limits: The limits for an uploaded file; None for a file that this service wrote.

    Raises:
        InvalidRequest: The data is not a classifier file, has another schema, or is inconsistent;
            or a label is longer than `limits` allow.
        LabelLimitExceeded: The file has more labels than `limits` allow.
    """
    try:
        arrays = load(data)
        size = int.from_bytes(data[:_SIZE_BYTES], "little")
        header = json.loads(data[_SIZE_BYTES : _SIZE_BYTES + size])
        metadata = json.loads(
            header["__metadata__"][_ENTRY], parse_constant=_finite, parse_float=_finite
        )
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise _refusal(f"is not a classifier file ({type(exc).__name__})") from None
    try:
        if metadata["schema"] != SCHEMA:
            raise _refusal(f"has schema {metadata['schema']!r}, but this version reads {SCHEMA}")
        _check_labels(metadata)
        if limits is not None:
            limits.check_classifier_labels(len(metadata["labels"]))
            if any(len(label) > limits.max_label_chars for label in metadata["labels"]):
                raise _refusal(f"has a label of more than {limits.max_label_chars} characters")
        _check_arrays(metadata, arrays)
        with np.errstate(all="ignore"):  # the check refuses overflows
            learner = Learner.from_arrays(metadata["learner"], arrays)
            if limits is not None:
                classifier_file_limits.check(learner)
        return TrainedClassifier(
            model=str(metadata["model"]),
            revision=str(metadata["revision"]),
            counts=tuple(metadata["counts"]),
            learner=learner,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as exc:
        raise _refusal(f"is inconsistent: {exc}") from None


def _check_labels(metadata: dict[str, Any]) -> None:
    """Check the labels and the numbers of the metadata.

    Raises:
        ValueError: The labels are inconsistent, not strings, or not unique; or a number is out of
            range.
    """
    labels, counts, learner = metadata["labels"], metadata["counts"], metadata["learner"]
    if labels != learner["labels"] or len(labels) != len(counts):
        raise ValueError("the numbers of labels and counts differ")
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError("a label is not a string")
    "".join(labels).encode()  # an unpaired surrogate could not be sent in a response
    if len(set(labels)) != len(labels):
        raise ValueError("a label occurs twice")
    numbers = [*counts, *(learner[name] for name in ("seen", "heard", "steps"))]
    # The square of an example of weight 1,000 and 100 iterations is 1e18.
    small = all(0 <= number <= _MOST for number in numbers)
    if not small or not 0 <= learner["squares"] <= _MOST**2:
        raise ValueError("a number is out of range")
    if not all(type(count) is int for count in (*counts, learner["seen"])):
        raise ValueError("a count is not a whole number")
    if learner["kind"] not in get_args(Kind) or not 0 < learner["aggressiveness"] <= _MOST:
        raise ValueError("its learning method is unknown")


def _check_arrays(metadata: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Check the arrays against the labels and dimensions of the metadata.

    Raises:
        ValueError: An array is missing or unknown, has another type or shape, or is not finite.
    """
    count, dimensions = len(metadata["labels"]), metadata["dimensions"]
    expected = {"prior": (count, dimensions), "second": (dimensions, dimensions)}  # (L, D), (D, D)
    dtypes = _dtypes()
    if arrays.keys() != dtypes.keys():
        names = ", ".join(sorted(arrays.keys() ^ dtypes.keys()))
        raise ValueError(f"these arrays are missing or unknown: {names[:200]}")
    for name, array in sorted(arrays.items()):  # a file may have any order
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
    """Parse a number of the metadata: JSON has neither NaN nor infinity, but Python reads both.

    Raises:
        ValueError: The number is not finite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number")
    return number


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(f"file: {message}", fields=(FieldError(field="file", message=message),))
