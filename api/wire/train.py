"""POST /v1/train with its examples in a file: the fields beside it, and where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from pydantic import ConfigDict, Field, ValidationError

from api.wire import file
from api.wire.file import File
from shared.dialects.refusal import translated
from shared.dialects.shape import Shape
from shared.dialects.train import TrainFields, Training, training
from shared.errors import TokenLimitExceeded
from shared.limits import Limits
from shared.types import Example, TrainRequest


class FileFields(Shape):
    """Where a file has its examples."""

    text_column: str | None = Field(
        None, description="Column of a CSV, or key of JSONL, with the text; `text` if absent."
    )
    label_column: str | None = Field(
        None, description="Column of a CSV, or key of JSONL, with the label; `label` if absent."
    )
    delimiter: str | None = Field(
        None, description="Of a CSV: one character, or `tab`; found out if absent."
    )


class TrainFileBody(TrainFields, FileFields):
    """A train request whose examples are in a file; its fields are words."""

    model_config = ConfigDict(strict=False, json_schema_extra=file.with_file("JSONL or CSV."))


def parse_file(fields: Mapping[str, str], sent: File, *, limits: Limits) -> Training:
    """What a file and the fields beside it say.

    Raises:
        InvalidRequest: A field is wrong, or the file is; names each line that cannot be read or
            holds what the limits refuse.
    """
    try:
        said = TrainFileBody.model_validate(dict(fields))
    except ValidationError as exc:
        raise translated(exc, keyed=frozenset()) from None
    where = file.columns(said.text_column, said.label_column, said.delimiter)
    found = file.read(sent, where, check=partial(_check, limits))
    return training(said, found.examples, found.place)


def _check(limits: Limits, example: Example, place: str) -> None:
    """Refuse an example that is wrong by itself.

    Raises:
        InvalidRequest: It is.
    """
    # An update with one iteration, for which nothing is asked but of the example.
    alone = TrainRequest(model="", classifier_id="", num_iters=1, examples=(example,))
    with suppress(TokenLimitExceeded):  # an error of another code, which the whole call ends in
        limits.check_training(alone, place=lambda _: place)
