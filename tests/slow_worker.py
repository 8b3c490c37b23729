"""A worker whose tiny model takes 0.2 ms for each token of a forward pass, padding included."""

from __future__ import annotations

import time
from collections.abc import Sequence

from workers.main import main
from workers.microbatching.scheduler import PASS_COST_DIVISOR, SPECIAL_TOKENS
from workers.models import hashing
from workers.models.port import Rows

BUDGET_TOKENS = 1024  # of a forward pass on a CPU
TOKEN_S = 0.0002
FULL_PASS_S = BUDGET_TOKENS * TOKEN_S


class SlowEncoder(hashing.HashingEncoder):
    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        tokens = len(windows) * (max(map(len, windows)) + SPECIAL_TOKENS)
        time.sleep((tokens + BUDGET_TOKENS // PASS_COST_DIVISOR) * TOKEN_S)
        return super().encode(windows)


if __name__ == "__main__":
    from workers import model_loader

    model_loader.HashingEncoder = SlowEncoder  # type: ignore[misc]
    main()
