from __future__ import annotations

import numpy as np
import pytest

from workers.models.hashing import HashingEncoder
from workers.models.prompt_prefix import PromptPrefixEncoder


@pytest.fixture
def plain() -> HashingEncoder:
    return HashingEncoder(name="tiny")


def test_every_window_is_encoded_behind_the_prefix(plain: HashingEncoder):
    encoder = PromptPrefixEncoder(plain, "query:")
    texts = ["a red rose", "", "green"]

    rows = encoder.encode(encoder.tokenise(texts))

    assert np.array_equal(rows, plain.encode(plain.tokenise([f"query: {t}" for t in texts])))


def test_nobody_is_charged_for_it_and_it_has_room_in_the_window(plain: HashingEncoder):
    encoder = PromptPrefixEncoder(plain, "query:")
    taken = len(plain.tokenise(["query:"])[0])

    assert encoder.tokenise(["a red rose"]) == plain.tokenise(["a red rose"])
    assert encoder.window == plain.window - taken
    with pytest.raises(ValueError, match="longer than"):
        encoder.encode([[1] * (encoder.window + 1)])


def test_vectors_of_another_prefix_are_of_another_revision(plain: HashingEncoder):
    revisions = {PromptPrefixEncoder(plain, prefix).revision for prefix in ("query:", "passage:")}

    assert len(revisions | {plain.revision}) == 3
