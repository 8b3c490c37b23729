"""What the bodies of requests are made of: strict shapes, bounded lists, one text.

Decides what JSON types are read and how much of them; what a body means is its own module's.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MOST_ENTRIES = 65_536  # of one list or object: bounds the memory that a hostile body can take

Number = Annotated[float, Field(allow_inf_nan=False)]


class Shape(BaseModel):
    """A shape of the wire: types as JSON has them, unknown keys ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class TextInput(Shape):
    """One text to classify."""

    text: str


def bounded(value: object) -> object:
    """A value that is looked into only if it is of a bearable size.

    Raises:
        PydanticCustomError: It is not.
    """
    size = len(value) if isinstance(value, list | dict) else 0
    if isinstance(value, dict):
        size += sum(len(each) for each in value.values() if isinstance(each, list))
    if size > MOST_ENTRIES:
        raise PydanticCustomError("value_error", f"at most {MOST_ENTRIES} entries are read")
    return value


def as_list(value: object) -> object:
    """One item may stand without a list."""
    return bounded([value] if isinstance(value, str | dict) else value)


def without_image(value: object) -> object:
    """An item that is no image.

    Raises:
        PydanticCustomError: It is one.
    """
    if isinstance(value, dict) and value.get("image") is not None:
        raise PydanticCustomError(
            "value_error", "images are not available in this version; send a text"
        )
    return value
