"""What is asked of every row of a file: a classify request without its input."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from shared.dialects import native
from shared.dialects.native import ClassifyBody
from shared.dialects.requested import UnresolvedRequest
from shared.errors import PigeonholeError
from shared.validation import refuse, shown, within

PLACE = "classify"
_NOT_OF_ROWS = {
    "input": "is in the file; leave it out",
    "priority": "is of calls; rows of a file wait behind them",
    "metadata": "is of the batch; send it beside classify",
    "errors": "is of calls; a bad row of a file always fails alone",
}
_ROW = "any row"  # stands for the input, which is in the file


def _schema() -> dict[str, Any]:
    fields = ClassifyBody.model_json_schema()["properties"]
    for field in _NOT_OF_ROWS:
        del fields[field]
    return {
        "type": "object",
        "description": "What is asked of every row: a classify request without its input. "
        "`classifier` is another name of `classifier_id`.",
        "properties": {**fields, "classifier": fields["classifier_id"]},
        "additionalProperties": False,
    }


Asking = Annotated[dict[str, object], WithJsonSchema(_schema())]
"""A classify request without its input, as it was sent."""


def parse(said: Asking, *, default_model: str) -> UnresolvedRequest:
    """What is asked, of one row that stands for all.

    Raises:
        PigeonholeError: What is wrong with it; names the place.
    """
    body = dict(said)
    if "classifier" in body:
        if body.get("classifier_id") is not None:
            refuse(f"{PLACE}.classifier", "says what classifier_id says; send one of them")
        body["classifier_id"] = body.pop("classifier")
    for key in body:
        if key in _NOT_OF_ROWS:
            refuse(f"{PLACE}.{key}", _NOT_OF_ROWS[key])
        if key not in ClassifyBody.model_fields:
            refuse(f"{PLACE}.{shown(key)}", "is no field of this call; check how it is spelt")
    try:
        return native.parse({**body, "input": _ROW}, default_model=default_model)
    except PigeonholeError as exc:
        raise within(PLACE, exc) from None
