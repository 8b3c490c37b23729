"""Pagination: the page of a list that the current request asks for."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from shared.validation import refuse


def limit(*, default: int, most: int) -> int:
    """The maximum number of objects on the page.

    Raises:
        InvalidRequest: `limit` is no whole number of the range.
    """
    text = request.args.get("limit", str(default))
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= count <= most:
        refuse("limit", f"must be a whole number from 1 to {most}")
    return count


def after(known: Callable[[str], bool], *, what: str) -> str:
    """The id after which the page begins; empty for the first page.

    Raises:
        InvalidRequest: `after` has not the form of such an id.
    """
    cursor = request.args.get("after")
    if cursor is not None and not known(cursor):
        refuse("after", f"must be the id of a {what}")
    return cursor or ""
