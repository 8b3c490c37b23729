"""POST /v1/train with its examples in a file: the fields beside it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, ValidationError

from api.schemas.example_file import ABOUT, FileFields, UploadedFile, example_file, with_file
from shared.dialects.training import TrainFields, UnresolvedTrainRequest, training
from shared.validation import translated


class TrainFileBody(TrainFields, FileFields):
    """A train request with a file of examples; all field values are strings."""

    model_config = ConfigDict(strict=False, json_schema_extra=with_file(ABOUT))


def parse_file(
    fields: Mapping[str, str], sent: UploadedFile, *, place: str
) -> UnresolvedTrainRequest:
    """Parse the fields next to a file that is stored under `place`.

    Raises:
        InvalidRequest: A field is wrong.
    """
    try:
        said = TrainFileBody.model_validate(dict(fields))
    except ValidationError as exc:
        raise translated(exc) from None
    return training(said, file=example_file(said, sent, place=place))
