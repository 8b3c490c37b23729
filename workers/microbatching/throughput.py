"""Throughput of the models of this process: tokens per second of recent full forward passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from workers.microbatching.microbatcher import Observe

_FULL_TOKENS = 256  # a smaller pass costs nearly as much and does not predict large ones
_PASSES = 256  # in the moving window


class Throughput:
    """Measures forward passes; thread-safe."""

    def __init__(self) -> None:
        self._passes: dict[str, deque[tuple[int, float]]] = {}

    def watching(self, others: Callable[[str], Observe]) -> Callable[[str], Observe]:
        """A factory of microbatcher hooks that also call the hooks of `others`."""

        def observer(model: str) -> Observe:
            other, recent = others(model), self._passes.setdefault(model, deque(maxlen=_PASSES))

            def observe(windows: int, tokens: int, padded_tokens: int, took_s: float) -> None:
                other(windows, tokens, padded_tokens, took_s)
                if tokens >= _FULL_TOKENS and took_s > 0:
                    recent.append((tokens, took_s))

            return observe

        return observer

    def tokens_per_s(self) -> dict[str, float]:
        """Tokens per second by model; models without a full pass yet are left out."""
        snapshot = {model: tuple(passes) for model, passes in self._passes.items()}
        return {
            model: round(sum(tokens for tokens, _ in passes) / sum(s for _, s in passes), 1)
            for model, passes in snapshot.items()
            if passes
        }
