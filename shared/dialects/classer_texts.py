"""Several texts in one request of the Classer API: an answer or an error for each, in their order.

An `image` or `file` beside the texts is judged together with each of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from shared.dialects import classer_request
from shared.dialects.classer_request import (
    InputFields,
    TagFields,
    read,
    request_of,
    threshold_of,
)
from shared.dialects.requested import UnresolvedRequest
from shared.errors import FieldError, InvalidRequest, PigeonholeError
from shared.messages import failure_of
from shared.schema_base import complete
from shared.types import FailedItem, Item

MAX_TEXTS = 1000


def _texts(value: object) -> object:
    """A list of a bearable length; what its entries are is found out one by one."""
    if not isinstance(value, list):
        raise PydanticCustomError("value_error", "must be a list of texts")
    if not 1 <= len(value) <= MAX_TEXTS:
        raise PydanticCustomError(
            "value_error",
            f"must hold 1 to {MAX_TEXTS} texts, got {len(value)}: send the rest in further "
            "requests, or in a batch (/v1/batch)",
        )
    return value


_Texts = Annotated[list[object], BeforeValidator(_texts, json_schema_input_type=list[object])]


class ClassifyTextsBody(InputFields):
    """Texts, and the labels or the classifier to classify them by."""

    texts: _Texts = Field(
        description=f"1 to {MAX_TEXTS} texts. An item that is no string has an `error` of its own."
    )


class TagTextsBody(ClassifyTextsBody, TagFields):
    """Texts, and the labels or the classifier to tag them with."""


def parse_classify(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body of texts to classify says.

    Raises:
        PigeonholeError: A shape or value is wrong, other than that of a single text.
    """
    return _parsed(read(ClassifyTextsBody, body), default_model, None)


def parse_tag(body: dict[str, object], *, default_model: str) -> UnresolvedRequest:
    """What a body of texts to tag says.

    Raises:
        PigeonholeError: As for `parse_classify`.
    """
    fields = read(TagTextsBody, body)
    return _parsed(fields, default_model, threshold_of(fields))


def own_error(error: PigeonholeError) -> PigeonholeError:
    """The error with the fields of requests of several texts."""
    return classer_request.own_error(error, texts=True)


def _parsed(
    body: ClassifyTextsBody, default_model: str, threshold: float | None
) -> UnresolvedRequest:
    items, refused = [], []
    for index, text in enumerate(body.texts):
        fault = _fault(text)
        items.append(Item(text=text if isinstance(text, str) and fault is None else ""))
        if fault is not None:
            refused.append(FailedItem(index=index, failure=failure_of(_no_text(index, fault))))
    return request_of(
        body,
        default_model=default_model,
        items=tuple(items),
        threshold=threshold,
        shared_media=body.media,
        errors="per_item",
        refused=tuple(refused),
    )


def _fault(text: object) -> str | None:
    """What is wrong with a text that no worker can be handed."""
    if not isinstance(text, str):
        return "must be a string"
    try:
        complete(text)
    except PydanticCustomError:
        return "has half of a surrogate pair; send complete characters"
    return None


def _no_text(index: int, message: str) -> InvalidRequest:
    fault = FieldError(field=f"input[{index}].text", message=message)
    return InvalidRequest(f"{fault.field}: {fault.message}", fields=(fault,))
