"""POST /v1/train with its examples in a file, sent or stored: the fields beside it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field, ValidationError

from api.schemas.example_file import (
    ABOUT,
    FileFields,
    StoredExamplesFields,
    UploadedFile,
    example_file,
    stored_example_file,
    with_file,
)
from shared.dialects.examples import LabelledInputs
from shared.dialects.training import TrainFields, UnresolvedTrainRequest, training
from shared.validation import refuse, translated


class TrainFileBody(TrainFields, FileFields):
    """A train request with a file of examples; all field values are strings."""

    model_config = ConfigDict(strict=False, json_schema_extra=with_file(ABOUT))


class TrainBody(TrainFields, StoredExamplesFields):
    """A train request in JSON: examples in the body, or a stored file of them."""

    input: LabelledInputs | None = Field(
        None,
        description="Examples, learnt in this order; at least two labels for a new classifier. "
        "Required without `input_file_id` and `input_url`.",
    )


def parse_stored(body: object) -> UnresolvedTrainRequest:
    """Parse a request that names a stored file.

    Raises:
        InvalidRequest: A field is wrong, or examples are in the body as well.
    """
    try:
        parsed = TrainBody.model_validate(body)
    except ValidationError as exc:
        raise translated(exc) from None
    if parsed.input is not None:
        refuse("input", "conflicts with the stored file of examples: send only one of them")
    return training(parsed, file=stored_example_file(parsed))


def parse_file(
    fields: Mapping[str, str], sent: UploadedFile, *, place: str
) -> UnresolvedTrainRequest:
    """Parse the fields next to a file that is stored under `place`.

    Raises:
        InvalidRequest: A field is wrong.
    """
    try:
        parsed = TrainFileBody.model_validate(dict(fields))
    except ValidationError as exc:
        raise translated(exc) from None
    return training(parsed, file=example_file(parsed, sent, place=place))
