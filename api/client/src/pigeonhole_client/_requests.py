"""Bodies of requests out of what a caller passes; no I/O."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_type_hints

from pigeonhole_client import frames
from pigeonhole_client.errors import ConfigurationError

Item = str | Mapping[str, Any]
"""A text, or `{"text": …}`, `{"image": …}`, `{"file": …}`."""

Labels = Sequence[str] | Mapping[str, Sequence[str]]
"""Labels of one question, or of several questions by name."""

Example = tuple[str, str] | Mapping[str, Any]
"""A text and its label, or `{"text" | "image": …, "label": …}`."""

PathLike = str | os.PathLike[str]


class Options(TypedDict, total=False):
    """Options of a classification; the server's defaults hold for those that are absent.

    `docs/guides/zero-shot.md` of the service describes each.
    """

    model: str
    descriptions: Mapping[str, str]
    examples: Mapping[str, Sequence[str]]
    template: str
    multi_label: bool
    threshold: float | Mapping[str, float]
    top_k: int
    engine: Literal["embedding", "nli", "hybrid", "auto"]
    scores: Literal["calibrated", "jina", "raw"]
    return_uncertainty: bool
    return_fit: bool
    unknown_below: float
    file_by: Literal["text", "pages", "both", "auto"]
    per_page: bool
    max_pages: int


class CallOptions(Options, total=False):
    """Options of `classify`. The rows of a batch have none: all run at bulk priority, one that is
    bad fails alone, and none is cached.
    """

    priority: Literal["standard", "fast"]
    errors: Literal["fail", "per_item"]
    cache: bool


def question(
    labels: Labels | None,
    classifier: str | None,
    options: Mapping[str, Any],
    *,
    known: type[Options] = Options,
) -> dict[str, Any]:
    """The fields of a classify request beside its inputs.

    Raises:
        ConfigurationError: Neither or both of labels and classifier are given.
        TypeError: An option is unknown. The service would ignore it.
    """
    if (labels is None) == (classifier is None):
        raise ConfigurationError("pass either labels or a classifier")
    names = get_type_hints(known)
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(sorted(names))}")
    made: dict[str, Any] = {}
    if isinstance(labels, Mapping):
        made["labels"] = {group: list(each) for group, each in labels.items()}
    elif labels is not None:
        if isinstance(labels, str):
            raise ConfigurationError("labels is one text; pass a list of labels")
        made["labels"] = list(labels)
    if classifier is not None:
        made["classifier_id"] = classifier
    return made | {name: value for name, value in options.items() if value is not None}


def items(inputs: Item | Iterable[Item]) -> list[Item]:
    """Inputs as a list; one input may stand without one."""
    if isinstance(inputs, str | Mapping):
        return [inputs]
    if frames.is_series(inputs):
        return frames.values(inputs)
    return list(inputs)


def as_path(examples: object) -> Path | None:
    """The path of a file of examples; None where the examples themselves are passed."""
    return Path(examples) if isinstance(examples, str | os.PathLike) else None


def example_list(
    examples: Any, *, text_column: str | None, label_column: str | None
) -> list[dict[str, Any]]:
    """Examples as the service reads them.

    Args:
        examples: Pairs of text and label, mappings, or a frame of pandas or polars.
        text_column, label_column: Columns of a frame; `text` and `label` if None.
    """
    if frames.is_frame(examples):
        texts = frames.column(examples, text_column or "text")
        labels = frames.column(examples, label_column or "label")
        examples = list(zip(texts, labels, strict=True))
    made: list[dict[str, Any]] = []
    for each in examples:
        if isinstance(each, Mapping):
            made.append(dict(each))
        else:
            text, label = each
            made.append({"text": text, "label": label})
    return made


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def form_fields(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields as words of a form; what is no text is JSON.

    >>> form_fields({"keep_examples": True, "num_iters": 5, "name": None, "metadata": {"a": "b"}})
    {'keep_examples': 'true', 'num_iters': '5', 'metadata': '{"a": "b"}'}
    """
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
        if value is not None
    }
