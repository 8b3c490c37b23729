"""How large batches may be on a device with so much memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from shared.errors import ConfigurationError, Unavailable
from tests.fake_media import ColourEncoder
from tests.fake_pairs import FixedPairs
from workers.microbatching import token_budget
from workers.microbatching.scheduler import SPECIAL_TOKENS
from workers.models.gpu_memory import SHARE
from workers.models.port import Rows, TextPair


class Device:
    """Free memory, of which every token in a pass takes some."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.taken = 0

    def run(self, tokens: int, per_token: int) -> None:
        self.taken = tokens * per_token
        if self.taken > self.free:
            raise Unavailable("There was not enough memory for a pass.")

    def free_bytes(self) -> int:
        return self.free

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        return self.taken


class Texts:
    name, revision, dimensions, window = "texts", "1", 4, 62

    def __init__(self, device: Device) -> None:
        self._device = device
        self.longest = 0

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1] * len(text.split()) for text in texts]

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        longest = max(map(len, windows))
        self.longest = max(self.longest, longest)
        self._device.run(len(windows) * (longest + SPECIAL_TOKENS), 100)
        return np.zeros((len(windows), 4), np.float32)

    def close(self) -> None:
        pass


class Images(ColourEncoder):
    def __init__(self, device: Device) -> None:
        super().__init__()
        self._device = device

    def encode(self, images) -> Rows:
        self._device.run(len(images) * self.image_tokens, 100)
        return np.zeros((len(images), self.dimensions), np.float32)


@pytest.mark.parametrize("windows", [1, 2, 3, 5, 9, 40])
def test_a_batch_of_texts_fills_the_memory_with_whole_windows(windows: int):
    device = Device(int(windows * 64 * 100 / SHARE) + 1)
    encoder = Texts(device)

    assert token_budget.of_texts(encoder, device) == windows * 64
    assert encoder.longest == encoder.window


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_batch_of_pairs_fills_the_memory_with_pairs_of_full_length(count: int):
    device = Device(int(count * 35 * 100 / SHARE) + 1)

    class Pairs(FixedPairs):
        def encode(self, pairs: Sequence[TextPair]) -> Rows:
            device.run(sum(len(pair) + SPECIAL_TOKENS for pair in pairs), 100)
            return super().encode(pairs)

    assert token_budget.of_pairs(Pairs(window=32), device) == count * 35


def test_no_batch_is_larger_than_the_most():
    device = Device(10**12)

    assert token_budget.of_texts(Texts(device), device, max_tokens=1000) == 15 * 64
    assert token_budget.of_texts(Texts(device), device, max_tokens=10) == 64


def test_images_are_counted_in_images():
    device = Device(10**6)
    encoder = Images(device)

    tokens = token_budget.of_images(encoder, device, max_tokens=10**6)

    assert tokens % encoder.image_tokens == 0
    assert tokens * 100 <= 10**6 * SHARE < (tokens + encoder.image_tokens) * 100


def test_models_that_share_a_device_share_its_memory():
    device = Device(10**6)

    half = token_budget.of_texts(Texts(device), token_budget.MemoryShare(memory=device, of=2))

    assert half == pytest.approx(token_budget.of_texts(Texts(device), device) / 2, abs=64)


def test_a_model_that_has_no_room_for_one_window_is_not_loaded():
    device = Device(100)

    with pytest.raises(ConfigurationError, match=r"texts does not fit.*PIGEONHOLE_MODELS"):
        token_budget.of_texts(Texts(device), device)
