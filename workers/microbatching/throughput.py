"""How fast the models of this process are: tokens a second of full forward passes, of late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from workers.microbatching.microbatcher import Observe

_FULL_TOKENS = 256  # a pass with fewer costs nearly as much, and says nothing of many rows
_PASSES = 256  # that are remembered


class Throughput:
    """Watches forward passes; safe for any thread."""

    def __init__(self) -> None:
        self._passes: dict[str, deque[tuple[int, float]]] = {}

    def watching(self, others: Callable[[str], Observe]) -> Callable[[str], Observe]:
        """Makes hooks of models' batchers, which also call those of `others`."""

        def observer(model: str) -> Observe:
            other, seen = others(model), self._passes.setdefault(model, deque(maxlen=_PASSES))

            def observe(windows: int, tokens: int, padded_tokens: int, took_s: float) -> None:
                other(windows, tokens, padded_tokens, took_s)
                if tokens >= _FULL_TOKENS and took_s > 0:
                    seen.append((tokens, took_s))

            return observe

        return observer

    def tokens_per_s(self) -> dict[str, float]:
        """By model; those that had no full pass yet are not among them."""
        found = {model: tuple(passes) for model, passes in self._passes.items()}
        return {
            model: round(sum(tokens for tokens, _ in passes) / sum(s for _, s in passes), 1)
            for model, passes in found.items()
            if passes
        }
