"""Query parameters: a call takes those of its operation, each once, and refuses all others.

A parameter that is misspelt and passed over would change what a call does without a word: a filter
that filters nothing, a dry run that starts a batch. The table of operations, from which the OpenAPI
document is made, says which parameters there are, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flask import Flask, request
from werkzeug.http import parse_options_header

from api.openapi.model import Operation
from api.openapi.operations import OPERATIONS
from shared.errors import FieldError
from shared.validation import invalid, shown

_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")
_BY_CALL = {(operation.method, operation.path): operation for operation in OPERATIONS}


def install(app: Flask) -> None:
    """Check the query of every call, once its key is known and before its view runs."""

    @app.before_request
    def check() -> None:
        if operation := _operation():
            media_type, _ = parse_options_header(request.headers.get("Content-Type", ""))
            check_names(
                operation, request.args.keys(), request.args.lists(), media_type=media_type.lower()
            )


def check_names(
    operation: Operation,
    names: Iterable[str],
    values: Iterable[tuple[str, list[str]]] = (),
    *,
    media_type: str = "",
) -> None:
    """Refuse parameters that the operation has not, and those that are sent more than once.

    Args:
        operation: The call.
        names: Names of the parameters that were sent.
        values: The values of each name.
        media_type: Of the body; some operations take fields in the query beside a file.

    Raises:
        InvalidRequest: Names each such parameter and those that the operation has.
    """
    known = operation.query_names(media_type)
    told = f"known are: {', '.join(known)}" if known else "the call has none"
    unknown = f"is no query parameter of this call; {told}"
    faults = [
        FieldError(field=shown(name), message=unknown, type="extra_forbidden")
        for name in names
        if not operation.takes(name, known)
    ]
    faults += [
        FieldError(field=shown(name), message="stands twice in the query; send it once")
        for name, each in values
        if len(each) > 1
    ]
    if faults:
        raise invalid(faults)


def _operation() -> Operation | None:
    """The operation of the request; None of a path outside the table, such as that of `/docs`."""
    if request.url_rule is None:
        return None
    method = "get" if request.method == "HEAD" else request.method.lower()
    return _BY_CALL.get((method, _PLACEHOLDER.sub(r"{\1}", request.url_rule.rule)))
