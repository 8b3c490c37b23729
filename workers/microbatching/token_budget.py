"""How many tokens one forward pass of a tower may hold, where the operator has not said.

On a CPU it is a number; on a GPU it is measured when the model is loaded. Importing this module
imports torch, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shared.errors import ConfigurationError, Unavailable
from workers.microbatching.scheduler import SPECIAL_TOKENS
from workers.models.gpu_memory import MemoryProbe, measure_budget
from workers.models.port import ImageEncoder, TextEncoder

MAX_TOKENS = 32_768
"""No larger batch, however much memory there is: who comes next waits for the whole of it, and a
GPU is busy with far less. Chosen, not measured."""
_PROBES = (8, 4, 2)  # windows of the larger of two batches; the next where they do not fit


@dataclass(frozen=True, kw_only=True)
class MemoryShare:
    """A part of a device's memory: the towers of a process may all run at once."""

    memory: MemoryProbe
    of: int

    def free_bytes(self) -> int:
        """What a batch of one of them could take."""
        return self.memory.free_bytes() // self.of

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """The most that the work held at once."""
        return self.memory.peak_bytes(work)


def of_texts(encoder: TextEncoder, memory: MemoryProbe, *, max_tokens: int = MAX_TOKENS) -> int:
    """Tokens of a batch of windows at their full length, special tokens included.

    Raises:
        ConfigurationError: There is no memory for one window.
    """
    (ids,) = encoder.tokenise(["word " * encoder.window])
    full = ids[: encoder.window]
    tokens = len(full) + SPECIAL_TOKENS
    windows = _fitting(
        lambda count: encoder.encode([full] * count), memory, max_tokens // tokens, encoder.name
    )
    return windows * tokens


def of_images(encoder: ImageEncoder, memory: MemoryProbe, *, max_tokens: int = MAX_TOKENS) -> int:
    """Tokens of a batch of images, each of `image_tokens`.

    Raises:
        ConfigurationError: There is no memory for one image.
    """
    grey = np.full((encoder.frame.height, encoder.frame.width, 3), 128, np.uint8)
    tokens = encoder.image_tokens
    images = _fitting(
        lambda count: encoder.encode([grey] * count), memory, max_tokens // tokens, encoder.name
    )
    return images * tokens


def _fitting(encode: Callable[[int], object], memory: MemoryProbe, most: int, model: str) -> int:
    """How many items fit, 1 to `most`; at least 1 was tried."""
    for probe in (probe for probe in _PROBES if probe <= most):
        try:
            return measure_budget(encode, memory=memory, probe=probe, most=most)
        except Unavailable:
            continue
    try:
        encode(1)
    except Unavailable as exc:
        raise ConfigurationError(
            f"the model {model} does not fit the device's memory: {exc.detail} Load fewer models "
            "(PIGEONHOLE_MODELS), or a smaller one"
        ) from exc
    return 1
