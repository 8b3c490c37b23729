"""The `Prefer` header of RFC 7240: whether and how long a client waits for the result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prefer:
    """The preferences of a client; `wait_s` is None if it states none."""

    respond_async: bool = False
    wait_s: int | None = None

    def applied(self) -> str:
        """The value of `Preference-Applied`."""
        parts = ["respond-async"] if self.respond_async else []
        return ", ".join(parts if self.wait_s is None else [*parts, f"wait={self.wait_s}"])


def read(header: str | None, *, max_wait_s: float) -> Prefer:
    """The preferences of a header; unknown and malformed ones are ignored, as the RFC asks.

    >>> read("respond-async, wait=100", max_wait_s=30)
    Prefer(respond_async=True, wait_s=30)
    """
    fields: dict[str, str] = {}
    for preference in (header or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        fields.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = fields.get("wait", "")
    wait_s = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Prefer(
        respond_async="respond-async" in fields,
        wait_s=None if wait_s is None else min(wait_s, int(max_wait_s)),
    )
