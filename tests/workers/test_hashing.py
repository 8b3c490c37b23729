"""The tiny model for tests: the same everywhere, and near for texts that share words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.models.hashing import HashingEncoder
from workers.models.port import TextEncoder

ROOT = Path(__file__).parents[2]
PRINT_ROW = """
import sys
from workers.models.hashing import HashingEncoder
encoder = HashingEncoder()
print(encoder.encode(encoder.tokenise(["Red apples, green pears"]))[0].tobytes().hex())
print("torch" in sys.modules)
"""


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_rows_are_unit_float32_whatever_the_batch_mates(texts: list[str]) -> None:
    encoder: TextEncoder = HashingEncoder(window=100)
    windows = encoder.tokenise(texts)

    together = encoder.encode(windows)

    assert together.dtype == np.float32
    assert together.shape == (len(texts), encoder.dimensions)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, window in zip(together, windows, strict=True):
        np.testing.assert_array_equal(row, encoder.encode([window])[0])


def test_texts_that_share_words_are_nearer() -> None:
    encoder = HashingEncoder()
    sport, sports, money = encoder.encode(
        encoder.tokenise(["a story about sport", "sports", "interest rates"])
    )

    assert sport @ sports > sport @ money + 0.1


def test_a_window_that_is_too_long_is_refused() -> None:
    encoder = HashingEncoder(window=2)

    with pytest.raises(ValueError, match="3 tokens"):
        encoder.encode(encoder.tokenise(["one two three"]))


def test_another_process_gives_the_same_vectors_and_needs_no_torch() -> None:
    def row(seed: str) -> list[str]:
        run = subprocess.run(
            [sys.executable, "-c", PRINT_ROW],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return run.stdout.split()

    first, second = row("1"), row("2")

    assert first == second
    assert first[1] == "False"
