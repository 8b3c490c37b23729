"""An encoder whose weights are freed while nothing uses it, and loaded again by the next pass.

The tokenizer stays, so that requests are counted, cut and queued as before; they wait while the
thread that owns the model loads the weights, before the first forward pass.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from shared.errors import PigeonholeError, Unavailable, WorkFailed
from shared.telemetry import Log
from workers.models.port import PairEncoder, Rows, TextEncoder

log = Log("models")
_TRY_AGAIN_S = 10.0  # after a load that failed: each microbatch would try
LoadState = Literal["loaded", "cold", "loading"]


class IdleEncoder:
    """A `TextEncoder` or `PairEncoder` that can be offloaded.

    Args:
        encoder: loaded and warm.
        load: loads it once more.
        load_s: how long loading took.
    """

    def __init__(
        self,
        encoder: TextEncoder | PairEncoder,
        load: Callable[[], TextEncoder | PairEncoder],
        *,
        load_s: float,
    ) -> None:
        self.name = encoder.name
        self.revision = encoder.revision
        self.dimensions = encoder.dimensions
        self.window = encoder.window
        self.state: LoadState = "loaded"
        self.load_s = load_s
        self._encoder: Any = encoder  # closed while it is cold: then it still tokenises
        self._load = load
        self._lock = threading.Lock()
        self._loading_since = self._loaded_at = self._failed_at = float("-inf")
        self.failure = ""  # of the last load; empty: there was none, or it succeeded

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Content token ids of each text."""
        ids: list[list[int]] = self._encoder.tokenise(texts)
        return ids

    def encode(self, windows: Sequence[Any]) -> Rows:
        """The rows of the windows; loads the weights first if they were freed.

        Raises:
            Unavailable: As for `load`.
        """
        with self._lock:
            self._reload()
            rows: Rows = self._encoder.encode(windows)
            return rows

    def load(self) -> None:
        """Load the weights if they were freed.

        Raises:
            Unavailable: The model cannot be loaded now, or is another one now.
        """
        with self._lock:
            self._reload()

    def offload(self) -> bool:
        """Free the weights; False if they are free already, or a pass runs."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self.state != "loaded":
                return False
            self.state = "cold"
            self._encoder.close()
        finally:
            self._lock.release()
        log.info("model.offloaded", model=self.name)
        return True

    def close(self) -> None:
        """Free the weights for good."""
        self._encoder.close()

    def waited_ms(self, since: float) -> int:
        """For how long work that began at a monotonic time has waited for the weights."""
        return round(1e3 * max(0.0, self._loaded_at - max(since, self._loading_since)))

    def loading_s(self) -> float:
        """Seconds since the load that goes on began; 0 while none does."""
        return time.monotonic() - self._loading_since if self.state == "loading" else 0.0

    def _reload(self) -> None:
        if self.state == "loaded":
            return
        if (wait_s := self._failed_at + _TRY_AGAIN_S - time.monotonic()) > 0:
            raise Unavailable(self.failure, retry_after_s=math.ceil(wait_s))
        self._loading_since, self.state = time.monotonic(), "loading"
        try:
            encoder = self._load()
            if encoder.revision != self.revision:
                encoder.close()
                raise WorkFailed(
                    f"the files of the model {self.name} have changed: restart its workers"
                )
        except Exception as exc:
            self.state, self._failed_at = "cold", time.monotonic()
            detail = exc.detail if isinstance(exc, PigeonholeError) else type(exc).__name__
            self.failure = f"the model {self.name} cannot be loaded again: {detail}"
            log.error("model.not_loaded", exc=exc, model=self.name)
            raise Unavailable(self.failure, retry_after_s=math.ceil(_TRY_AGAIN_S)) from exc
        self._encoder, self.state, self.failure = encoder, "loaded", ""
        self._loaded_at = time.monotonic()
        self.load_s = self._loaded_at - self._loading_since
        log.info("model.loaded_again", model=self.name, after_s=round(self.load_s, 2))
