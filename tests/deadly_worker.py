"""A worker whose tiny model ends the process, or raises, on marker words, as native code may."""

from __future__ import annotations

import os
from collections.abc import Sequence

from workers.main import main
from workers.models import hashing
from workers.models.port import Rows

FATAL = "fatal-marker"
RAISING = "raising-marker"


class DeadlyEncoder(hashing.HashingEncoder):
    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        ids = {token for window in windows for token in window}
        if ids & set(self.tokenise([FATAL])[0]):
            os._exit(139)
        if ids & set(self.tokenise([RAISING])[0]):
            raise MemoryError
        return super().encode(windows)


if __name__ == "__main__":
    from workers import model_loader

    model_loader.HashingEncoder = DeadlyEncoder  # type: ignore[misc]
    main()
