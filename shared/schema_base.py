"""Base classes of request bodies: strict types, bounded lists, one item.

Decides which JSON types are accepted, and how many values. Each schema decides what its body means.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared import ids
from shared.types import Item, Media

MAX_ENTRIES = 65_536  # of one list or object: bounds the memory that a hostile body can take

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}:")  # no base64 has a colon

_KINDS = ("text", "image", "file")


def complete(text: str) -> str:
    """A text that UTF-8 can encode, which pydantic does not check.

    Raises:
        PydanticCustomError: It has half of a surrogate pair.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("string_unicode", "is not Unicode") from None
    return text


Number = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, AfterValidator(complete)]


class Schema(BaseModel):
    """A shape of the wire: types as JSON has them, unknown keys ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


def _any_kind(schema: dict[str, Any]) -> None:
    """Say that one of the three is required, which Python's types do not say."""
    schema["required"] = [field for field in schema["required"] if field != "text"]
    schema["anyOf"] = [{"required": [kind]} for kind in _KINDS]


def _as_images(value: object) -> object:
    if value == []:
        raise PydanticCustomError("value_error", "must hold at least one image")
    if value is None or isinstance(value, list):
        return bounded(value)
    if not isinstance(value, str):
        raise PydanticCustomError(
            "value_error", "must be an image in base64 or its URL, or a list of them"
        )
    return [value]


Images = Annotated[
    list[_Text] | None,
    BeforeValidator(_as_images, json_schema_input_type=str | list[str] | None),
]
"""Images of one thing; a single one may stand without a list."""


class ItemInput(Schema):
    """One thing: a text, an image (or several of one thing), or a document."""

    model_config = ConfigDict(json_schema_extra=_any_kind)

    text: _Text = Field(description="A text.")
    image: Images = Field(
        None,
        description="An image in base64, as a data URI, or as a URL: `https://…`, or `s3://…` "
        "where the operator allows it. A list holds images of one thing.",
    )
    file: _Text | None = Field(
        None, description="A PDF or DOCX: in base64, as a URL, or as the id of an uploaded file."
    )

    def item(self) -> Item:
        """What was sent, inside the service."""
        if self.image is None and self.file is None:
            return Item(text=self.text)
        file = None if self.file is None else media_of(self.file)
        return Item(images=tuple(map(media_of, self.image or ())), file=file)


def media_of(text: str) -> Media:
    """An address, the id of a file, or else the bytes themselves; without blanks around it.

    >>> media_of(" https://example.org/cat.jpg").url
    'https://example.org/cat.jpg'
    >>> media_of("iVBORw0KGgo=").data
    'iVBORw0KGgo='
    """
    text = text.strip()  # as it comes out of cells of tables
    if ids.is_file_id(text):
        return Media(file_id=text)
    if _ADDRESS.match(text) and text[:5].lower() != "data:":
        return Media(url=text)
    return Media(data=text)


def bounded(value: object) -> object:
    """A value that is looked into only if it is of a bearable size.

    Raises:
        PydanticCustomError: It is not.
    """
    size = len(value) if isinstance(value, list | dict) else 0
    if isinstance(value, dict):
        size += sum(len(each) for each in value.values() if isinstance(each, list))
    if size > MAX_ENTRIES:
        raise PydanticCustomError("value_error", f"at most {MAX_ENTRIES} entries are allowed")
    return value


BoundedWords = Annotated[list[str], BeforeValidator(bounded)]
BoundedTexts = Annotated[dict[str, str], BeforeValidator(bounded)]


def as_list(value: object) -> object:
    """One item may stand without a list."""
    return bounded([value] if isinstance(value, str | dict) else value)


def one_kind(value: object) -> object:
    """An item as `ItemInput` has it.

    Raises:
        PydanticCustomError: It is more than one thing.
    """
    if not isinstance(value, dict):
        return value
    kinds = [kind for kind in _KINDS if value.get(kind) is not None]
    if len(kinds) > 1:
        raise PydanticCustomError(
            "value_error",
            f"holds {' and '.join(kinds)}: send each as a separate item",
        )
    return {**value, "text": ""} if kinds in (["image"], ["file"]) else value
