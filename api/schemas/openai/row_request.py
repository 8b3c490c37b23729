"""The request for every row of a batch file: a classify request without its input."""

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
    "input": "`input` is not allowed here: the input comes from the file",
    "priority": "`priority` is not allowed in a batch: batch rows always run at bulk priority",
    "metadata": "`metadata` is not allowed here: send it as a field of the batch",
    "errors": "`errors` is not allowed in a batch: a wrong row always fails alone",
}
_ROW = "any row"  # stands in for the input, which is in the file


def _schema() -> dict[str, Any]:
    fields = ClassifyBody.model_json_schema()["properties"]
    for field in _NOT_OF_ROWS:
        del fields[field]
    return {
        "type": "object",
        "description": "A classify request without `input`, for every row. `classifier` is another "
        "name of `classifier_id`.",
        "properties": {**fields, "classifier": fields["classifier_id"]},
        "additionalProperties": False,
    }


Asking = Annotated[dict[str, object], WithJsonSchema(_schema())]
"""A classify request without its input, as it was sent."""


def parse(fields: Asking, *, default_model: str) -> UnresolvedRequest:
    """Parse the request with a placeholder as its input.

    Raises:
        PigeonholeError: What is wrong with it; names the place.
    """
    body = dict(fields)
    if "classifier" in body:
        if body.get("classifier_id") is not None:
            refuse(f"{PLACE}.classifier", "conflicts with classifier_id: send only one of them")
        body["classifier_id"] = body.pop("classifier")
    for key in body:
        if key in _NOT_OF_ROWS:
            refuse(f"{PLACE}.{key}", _NOT_OF_ROWS[key])
        if key not in ClassifyBody.model_fields:
            refuse(f"{PLACE}.{shown(key)}", "unknown field; check its spelling")
    try:
        return native.parse({**body, "input": _ROW}, default_model=default_model)
    except PigeonholeError as exc:
        raise within(PLACE, exc) from None
