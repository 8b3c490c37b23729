"""The token budget of a forward pass, unless `PIGEONHOLE_MICROBATCH_TOKENS` sets it.

On a CPU it is a constant; on a GPU it is measured when the model is loaded. Importing this module
imports torch, which takes seconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shared.errors import ConfigurationError, Unavailable
from workers.microbatching.scheduler import SPECIAL_TOKENS
from workers.models.gpu_memory import MemoryProbe, measure_budget
from workers.models.port import ImageEncoder, PairEncoder, TextEncoder, TextPair

MAX_TOKENS = 32_768
"""Upper limit of a microbatch, whatever the memory: the next request waits for all of it, and far
fewer tokens saturate a GPU. Chosen, not measured."""
_PROBES = (8, 4, 2)  # windows of the larger of two probes; the next value if they do not fit


@dataclass(frozen=True, kw_only=True)
class MemoryShare:
    """A share of a device's memory, since all towers of a process may run at once."""

    memory: MemoryProbe
    of: int

    def free_bytes(self) -> int:
        """The free memory of one share, in bytes."""
        return self.memory.free_bytes() // self.of

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """The peak memory of the work, in bytes."""
        return self.memory.peak_bytes(work)


def of_texts(encoder: TextEncoder, memory: MemoryProbe, *, max_tokens: int = MAX_TOKENS) -> int:
    """The token budget for windows of full length, special tokens included.

    Raises:
        ConfigurationError: Not even one window fits into memory.
    """
    (ids,) = encoder.tokenise(["word " * encoder.window])
    full = ids[: encoder.window]
    tokens = len(full) + SPECIAL_TOKENS
    windows = _fitting(
        lambda count: encoder.encode([full] * count), memory, max_tokens // tokens, encoder.name
    )
    return windows * tokens


def of_pairs(encoder: PairEncoder, memory: MemoryProbe, *, max_tokens: int = MAX_TOKENS) -> int:
    """The token budget for pairs of full length, special tokens included.

    Raises:
        ConfigurationError: Not even one pair fits into memory.
    """
    (ids,) = encoder.tokenise(["word " * encoder.window])
    half = array("i", ids[: encoder.window // 2]).tobytes()
    pair = TextPair(half, half)
    tokens = len(pair) + SPECIAL_TOKENS
    pairs = _fitting(
        lambda count: encoder.encode([pair] * count), memory, max_tokens // tokens, encoder.name
    )
    return pairs * tokens


def of_images(encoder: ImageEncoder, memory: MemoryProbe, *, max_tokens: int = MAX_TOKENS) -> int:
    """The token budget for images, each of `image_tokens`.

    Raises:
        ConfigurationError: Not even one image fits into memory.
    """
    grey = np.full((encoder.frame.height, encoder.frame.width, 3), 128, np.uint8)
    tokens = encoder.image_tokens
    images = _fitting(
        lambda count: encoder.encode([grey] * count), memory, max_tokens // tokens, encoder.name
    )
    return images * tokens


def _fitting(encode: Callable[[int], object], memory: MemoryProbe, most: int, model: str) -> int:
    """The number of items that fit, 1 to `most`; 1 is tested."""
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
