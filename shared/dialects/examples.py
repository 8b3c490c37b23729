"""Examples for training and evaluation in a body; the rows of a file have the same fields.

`shared.limits` decides how many there may be, and what they may hold.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from shared.schema_base import ItemInput, Number, bounded, one_kind
from shared.types import Example


class ExampleInput(ItemInput):
    """An item and what it is."""

    label: str | None = Field(None, description="What the item is.")
    num_iters: int | None = Field(
        None, description="Iterations over this example, where it counts more or less than others."
    )
    weight: Number | None = Field(
        None, description="How much this example counts: 0.001 to 1000, and 1 if absent."
    )


class LabelledInput(ExampleInput):
    """An item and what it is, to learn from."""

    label: str = Field(description="What the item is; new labels may come any time.")


def _as_object(value: object) -> object:
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "value_error", "must be an object with a label and a text, an image or a file"
        )
    return one_kind(value)


def _one_or_many(value: object) -> object:
    return bounded([value] if isinstance(value, dict) else value)


AnExample = Annotated[
    ExampleInput, BeforeValidator(_as_object, json_schema_input_type=ExampleInput)
]
ALabelled = Annotated[
    LabelledInput, BeforeValidator(_as_object, json_schema_input_type=LabelledInput)
]
ExampleInputs = Annotated[
    list[AnExample],
    BeforeValidator(_one_or_many, json_schema_input_type=ExampleInput | list[AnExample]),
]
LabelledInputs = Annotated[
    list[ALabelled],
    BeforeValidator(_one_or_many, json_schema_input_type=LabelledInput | list[ALabelled]),
]


def example_of(example: ExampleInput) -> Example:
    """The internal example of one that was sent; spaces around a label are none of its."""
    return Example(
        item=example.item(),
        label=None if example.label is None else example.label.strip(),
        num_iters=example.num_iters,
        weight=1.0 if example.weight is None else example.weight,
    )
