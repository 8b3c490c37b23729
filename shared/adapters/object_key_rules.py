"""The object names that every store accepts. Each adapter decides how it stores them."""

from __future__ import annotations

import re

from shared.errors import InvalidRequest

#: S3 ends a key at 1,024 bytes; what is left is for the prefix that a deployment puts before it.
MAX_NAME_BYTES = 900
MAX_PREFIX_BYTES = 1024 - MAX_NAME_BYTES

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_name(name: str) -> None:
    """Refuse a name that one of the stores could not keep, or that could leave its root.

    Args:
        name: `/`-separated segments, none of them empty, `.` or `..`; no control characters.

    Raises:
        InvalidRequest: The name breaks the rule. The sentence does not repeat it.
    """
    if _CONTROL.search(name):
        raise InvalidRequest("An object name must not hold control characters.")
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise InvalidRequest("An object name must not have empty, '.' or '..' segments.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidRequest(f"An object name must not exceed {MAX_NAME_BYTES} bytes.")
