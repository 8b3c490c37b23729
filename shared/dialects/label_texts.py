"""Fields of a body by label: descriptions, examples, thresholds."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from shared.normal_form import normal_form
from shared.schema_base import bounded
from shared.validation import inner, refuse

_V = TypeVar("_V", str, float, tuple[str, ...])


def _by_label(value: object) -> object:
    if isinstance(value, list):
        raise PydanticCustomError("value_error", "must be an object, {label: [texts]}, not a list")
    bounded(value)
    if not isinstance(value, dict):
        return value
    return {label: tuple(v) if isinstance(v, list) else v for label, v in value.items()}


LabelExamples = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(_by_label, json_schema_input_type=dict[str, list[str]]),
]
"""Texts by label."""


def of_labels(field: str, by_label: dict[str, _V], known: set[str]) -> dict[str, _V]:
    """The values by the labels' own spellings: groups may spell one label in several ways.

    Raises:
        InvalidRequest: A key is none of the labels `known`, or stands twice.
    """
    spelt: dict[str, list[str]] = {}
    for label in known:
        spelt.setdefault(normal_form(label), []).append(label)
    found: dict[str, _V] = {}
    for label, value in by_label.items():
        form = normal_form(label)
        if form not in spelt:
            refuse(inner(field, label), "is none of the labels")
        if found.keys() & spelt[form]:
            refuse(inner(field, label), "stands twice, in two spellings of one label")
        found |= dict.fromkeys(spelt[form], value)
    return found
