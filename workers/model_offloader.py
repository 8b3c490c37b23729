"""The offloader: frees the weights of models that were not used for `PIGEONHOLE_MODEL_IDLE_S`."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Collection

from workers.embedding.loaded_model import LoadedModel

_TICK_S = 1.0


class ModelOffloader:
    """A thread that looks once a second; without `idle_s` it does nothing."""

    def __init__(self, models: Collection[LoadedModel], *, idle_s: float) -> None:
        self._models = models
        self._idle_s = idle_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offloader", daemon=True)

    def start(self) -> None:
        """Start the thread, if models may be offloaded."""
        if self._idle_s:
            self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()

    def offload(self) -> bool:
        """Offload what is idle, the least recently used first; whether there was any."""
        offloaded = False
        for model in sorted(self._models, key=lambda model: model.use.at):
            idle = time.monotonic() - model.use.at >= self._idle_s
            if idle and model.idle is not None and not any(b.waits() for b in model.batchers):
                offloaded |= model.idle.offload()
        return offloaded

    def _run(self) -> None:
        while not self._closing.wait(min(_TICK_S, self._idle_s / 4)):
            if self.offload():
                gc.unfreeze()  # `workers.main` exempts the models from collection
                gc.collect()
                gc.freeze()
