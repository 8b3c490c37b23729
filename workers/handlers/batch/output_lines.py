"""Lines of the output and error files. A request line has the response that HTTP would give."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from shared.batches import BadRow
from shared.errors import FieldError, ModelNotFound, PigeonholeError
from shared.jobs import Job
from shared.statuses import STATUS
from workers.handlers.batch.part_rows import PartRow

_encode = msgspec.json.Encoder().encode


def answered_line(job: Job, row: PartRow, body: dict[str, Any]) -> bytes:
    """The line of a request that was answered."""
    return _line(job, row, HTTPStatus.OK, body)


def refused_line(job: Job, row: PartRow, error: PigeonholeError) -> bytes:
    """The line of a request that was refused, in the body that clients of the OpenAI API read."""
    param = error.fields[0].field if error.fields else None
    fields: dict[str, Any] = {
        "message": error.detail,
        "type": "invalid_request_error",
        "param": param,
    }
    fields |= {"code": error.code.lower(), "retryable": error.retryable}
    return _line(job, row, STATUS[type(error)], {"error": fields})


def not_held(model: str) -> ModelNotFound:
    """Why a line that names a model of the catalogue is refused all the same.

    A batch is worked on where its own model is; its lines cannot go elsewhere, and must not wait.
    """
    message = f"the workers of this batch do not hold {model}; ask for it in calls, or leave it out"
    return ModelNotFound(f"model: {message}", fields=(FieldError(field="model", message=message),))


def bad_line(job: Job, row: PartRow, reason: BadRow) -> bytes:
    """The line of a request that was never made."""
    fields = {"code": reason.code, "message": reason.message, "retryable": reason.retryable}
    return _line(job, row, None, fields)


def bad_row(row: PartRow, reason: BadRow) -> bytes:
    """The line of a plain row that did not come out."""
    fields: dict[str, Any] = {"id": row.id, **row.origin, "line": row.line or None}
    if row.data is not None:
        fields["row"] = row.data
    fields["error"] = {
        "code": reason.code,
        "message": reason.message,
        "param": reason.param,
        "retryable": reason.retryable,
    }
    return _encode(fields) + b"\n"


def _line(job: Job, row: PartRow, status: HTTPStatus | None, body: dict[str, Any]) -> bytes:
    """A line of a result; without a status the request was never made, and `body` says why."""
    place = row.line or f"row{row.number + 1}"
    name = f"{job.id.removeprefix('job_')}_{place}"  # the same if it is run again
    response = None
    if status is not None:
        response = {"status_code": int(status), "request_id": f"req_{name}", "body": body}
    fields = {"id": f"batch_req_{name}", "custom_id": row.id, **row.origin, "response": response}
    return _encode({**fields, "error": body if status is None else None}) + b"\n"
