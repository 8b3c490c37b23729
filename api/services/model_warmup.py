"""How long the request that a thread answers has waited for a model that was not in memory."""

from __future__ import annotations

from contextvars import ContextVar

_waited_ms: ContextVar[int] = ContextVar("model_warmup_ms", default=0)


def begin_request() -> None:
    """Forget the request before."""
    _waited_ms.set(0)


def add(milliseconds: int) -> None:
    """Count what a worker has reported."""
    _waited_ms.set(_waited_ms.get() + milliseconds)


def headers() -> dict[str, str]:
    """`X-Model-Warmup-Ms`, if the request has waited."""
    waited_ms = _waited_ms.get()
    return {"X-Model-Warmup-Ms": str(waited_ms)} if waited_ms else {}
