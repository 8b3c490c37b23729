"""Checks of every call by its operation: scope and service of the key, query parameters.

A call takes the query parameters of its operation, each once, and refuses all others. An ignored
misspelling would silently change the call: a filter would not filter, and a dry run would start a
batch. The OpenAPI document is built from the same operations, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from flask import Flask, request
from werkzeug.http import parse_options_header

from api.http import middleware
from api.openapi.model import Operation
from shared.errors import FieldError
from shared.validation import invalid, shown

_PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>")


def install(app: Flask, operations: Iterable[Operation]) -> None:
    """Check every call, once its key is known and before its view runs."""
    by_call = {(each.method, each.path): each for each in operations}

    @app.before_request
    def check() -> None:
        if operation := by_call.get(_call()):
            if request.query_string and not operation.ignores_query:
                media_type, _ = parse_options_header(request.headers.get("Content-Type", ""))
                check_names(
                    operation,
                    request.args.keys(),
                    request.args.lists(),
                    media_type=media_type.lower(),
                )
            if operation.needs_key and not operation.own_jobs:
                middleware.caller().require(operation.scope)
                middleware.caller().require_service(operation.service)


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


def _call() -> tuple[str, str]:
    """The method and path of the request as its operation has them; no path where no route is."""
    method = "get" if request.method == "HEAD" else request.method.lower()
    rule = "" if request.url_rule is None else request.url_rule.rule
    return method, _path(rule)


@cache
def _path(rule: str) -> str:
    return _PLACEHOLDER.sub(r"{\1}", rule)
