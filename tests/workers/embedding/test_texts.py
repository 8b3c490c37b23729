"""Texts of any length to vectors, and the memory for label prompts."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.byte_cache import OVERHEAD_BYTES
from shared.errors import DeadlineExceeded, Unavailable
from shared.types import Priority
from tests.waiting import wait_until
from workers.embedding.texts import Embedder
from workers.embedding.window_stream import CHUNK_WINDOWS, WHOLE_WINDOWS
from workers.embedding.windows import weighted_means, windows
from workers.microbatching.microbatcher import Microbatcher
from workers.microbatching.scheduler import SPECIAL_TOKENS
from workers.models.hashing import HashingEncoder
from workers.models.port import Rows
from workers.work_context import WorkContext

BOUND_S = 60.0


class CountingEncoder(HashingEncoder):
    """Counts the windows that reach the model."""

    def __init__(self) -> None:
        super().__init__(window=8)
        self.ran = 0

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        self.ran += len(windows)
        return super().encode(windows)


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def embedder(encoder: CountingEncoder) -> Iterator[Embedder]:
    with Microbatcher(encoder, budget_tokens=64, name="hashing") as batcher:
        yield Embedder(
            encoder, batcher, cache_bytes=4 * (64 * 4 + sys.getsizeof("a") + OVERHEAD_BYTES)
        )


@pytest.fixture
def wide(encoder: CountingEncoder) -> Iterator[Embedder]:
    """Whose forward passes hold a hundred windows."""
    with Microbatcher(encoder, budget_tokens=1024, name="hashing") as batcher:
        yield Embedder(encoder, batcher)


def embed(embedder: Embedder, texts: Sequence[str]) -> Rows:
    tokens = embedder.tokenise(texts)
    return embedder.embed(tokens, WorkContext(priority=Priority.STANDARD)).result(BOUND_S)


def embed_ids(embedder: Embedder, windows: Sequence[Sequence[int]]) -> Rows:
    return embedder.embed(windows, WorkContext(priority=Priority.STANDARD)).result(BOUND_S)


def prompts(embedder: Embedder, texts: Sequence[str]) -> Rows:
    return embedder.embed_prompts(texts, WorkContext(priority=Priority.FAST)).result(BOUND_S)


@given(st.lists(st.integers(), max_size=200), st.integers(1, 40))
def test_windows_keep_every_token_and_are_even(tokens: list[int], size: int) -> None:
    cut = windows(tokens, size)

    sizes = [len(one) for one in cut]
    assert [token for one in cut for token in one] == tokens
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(cut) == max(1, -(-len(tokens) // size))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_means_are_unit_rows_and_leave_the_input_alone(counts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(sum(counts), 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    before = rows.copy()
    weights = random.integers(1, 9, len(rows)).astype(np.float32)

    means = weighted_means(rows, weights=weights, starts=np.cumsum([0, *counts[:-1]]))

    assert means.dtype == np.float32
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-5)


def test_windows_that_cancel_out_leave_the_first_ones_vector() -> None:
    rows = np.array([[1, 0], [-1, 0]], np.float32)

    means = weighted_means(rows, weights=np.ones(2, np.float32), starts=np.array([0]))

    np.testing.assert_array_equal(means, [[1, 0]])


def test_a_text_is_the_weighted_mean_of_its_windows(embedder: Embedder) -> None:
    long = " ".join(f"word{n}" for n in range(11))  # windows of 6 and 5
    first, second = " ".join(long.split()[:6]), " ".join(long.split()[6:])

    rows = embed(embedder, ["alone", long, ""])

    alone, a, b, empty = embed(embedder, ["alone", first, second, ""])
    mean = 6 * a + 5 * b
    np.testing.assert_allclose(rows[0], alone, atol=1e-6)
    np.testing.assert_allclose(rows[1], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(rows[2], empty, atol=1e-6)


LONG_WORDS = 8 * CHUNK_WINDOWS * 3 + 5  # of a text of more windows than wait at once


class WatchingEncoder(CountingEncoder):
    """Sees how many tokens wait behind each forward pass; `hold` keeps it from the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher: Microbatcher | None = None
        self.waiting: list[int] = []
        self.hold = threading.Event()
        self.hold.set()

    def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
        self.hold.wait(BOUND_S)
        if self.batcher is not None:
            self.waiting.append(self.batcher.backlog_tokens())
        return super().encode(windows)


def test_a_very_long_text_is_the_same_mean_and_stands_beside_others(
    wide: Embedder,
) -> None:
    long = " ".join(f"word{n}" for n in range(LONG_WORDS))

    rows = embed(wide, ["alone", long, "", long])

    tokens = wide.tokenise([long])[0]
    cut = windows(tokens, 8)
    each = np.concatenate([embed_ids(wide, cut[i : i + 100]) for i in range(0, len(cut), 100)])
    weights = np.array([len(window) for window in cut], np.float32)
    mean = weighted_means(each, weights=weights, starts=np.array([0]))[0]
    np.testing.assert_allclose(rows[1], mean, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[1], rows[3], atol=1e-6)
    np.testing.assert_allclose(rows[[0, 2]], embed(wide, ["alone", ""]), atol=1e-6)


def test_many_texts_of_some_windows_are_the_same_means(wide: Embedder) -> None:
    counts = [(n * 7) % 40 for n in range(600)]  # of words, so of 1 to 5 windows each
    texts = [" ".join(f"word{n} at{i}" for i in range(count)) for n, count in enumerate(counts)]
    tokens = wide.tokenise(texts)

    rows = embed(wide, texts)

    cut = [windows(each, 8) for each in tokens]
    assert sum(map(len, cut)) > WHOLE_WINDOWS + CHUNK_WINDOWS
    flat = [window for text in cut for window in text]
    each = np.concatenate([embed_ids(wide, flat[i : i + 100]) for i in range(0, len(flat), 100)])
    weights = np.array([len(window) or 1 for window in flat], np.float32)
    starts = np.cumsum([0, *map(len, cut[:-1])])
    np.testing.assert_allclose(
        rows, weighted_means(each, weights=weights, starts=starts), atol=1e-5
    )


def test_of_a_very_long_text_a_few_windows_wait_at_a_time() -> None:
    encoder = WatchingEncoder()
    with Microbatcher(encoder, budget_tokens=1024, name="hashing") as batcher:
        encoder.batcher = batcher
        text = " ".join(f"word{n}" for n in range(LONG_WORDS * 2))

        embed(Embedder(encoder, batcher), [text])

    assert encoder.ran > CHUNK_WINDOWS * 5
    assert max(encoder.waiting) <= WHOLE_WINDOWS * (8 + SPECIAL_TOKENS)


def test_what_is_left_of_a_very_long_text_ends_with_its_future() -> None:
    encoder = WatchingEncoder()
    with Microbatcher(encoder, budget_tokens=1024, name="hashing") as batcher:
        encoder.hold.clear()
        embedder = Embedder(encoder, batcher)
        tokens = embedder.tokenise([" ".join(f"word{n}" for n in range(LONG_WORDS * 2))])
        future = embedder.embed(tokens, WorkContext(priority=Priority.STANDARD))

        future.cancel()
        encoder.hold.set()
        embed(embedder, ["after it"])

    assert encoder.ran <= WHOLE_WINDOWS + 1


def test_a_very_long_text_fails_with_its_windows_and_in_time() -> None:
    encoder = WatchingEncoder()
    with Microbatcher(encoder, budget_tokens=1024, name="hashing") as batcher:
        embedder = Embedder(encoder, batcher)
        tokens = embedder.tokenise([" ".join(f"word{n}" for n in range(LONG_WORDS))])
        late = embedder.embed(
            tokens, WorkContext(priority=Priority.STANDARD, deadline=time.monotonic() - 1)
        )
        with pytest.raises(DeadlineExceeded):
            late.result(BOUND_S)

        encoder.hold.clear()
        stopped = embedder.embed(tokens, WorkContext(priority=Priority.STANDARD))
        closing = threading.Thread(target=batcher.close)
        closing.start()
        wait_until(lambda: not batcher.healthy())  # and not after the last window
        encoder.hold.set()
        closing.join(BOUND_S)
        with pytest.raises(Unavailable):
            stopped.result(BOUND_S)


def test_no_texts_are_no_rows(embedder: Embedder) -> None:
    assert embed(embedder, []).shape == (0, 64)
    assert prompts(embedder, []).shape == (0, 64)


def test_prompts_run_once(embedder: Embedder, encoder: CountingEncoder) -> None:
    first = prompts(embedder, ["red", "blue", "red"])
    second = prompts(embedder, ["blue", "red", "green"])

    assert encoder.ran == 3
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(second[:2], first[[1, 0]])
    np.testing.assert_array_equal(first, embed(embedder, ["red", "blue", "red"]))


def test_the_memory_for_prompts_is_bounded_and_keeps_what_was_used_last(
    embedder: Embedder, encoder: CountingEncoder
) -> None:
    prompts(embedder, ["a", "b", "c", "d"])
    prompts(embedder, ["a", "e"])  # "b" goes
    ran = encoder.ran

    prompts(embedder, ["a", "c", "d", "e"])
    assert encoder.ran == ran
    prompts(embedder, ["b"])
    assert encoder.ran == ran + 1


def test_more_prompts_than_are_remembered_still_come_back_right(embedder: Embedder) -> None:
    texts = [f"label {n}" for n in range(20)]

    np.testing.assert_array_equal(prompts(embedder, texts), embed(embedder, texts))


def test_changing_an_answer_does_not_change_the_memory(embedder: Embedder) -> None:
    first = prompts(embedder, ["red"])
    wanted = first.copy()
    first[:] = 0

    np.testing.assert_array_equal(prompts(embedder, ["red"]), wanted)


def test_many_threads_may_ask_for_prompts(embedder: Embedder) -> None:
    texts = [f"label {n}" for n in range(8)]
    wanted = embed(embedder, texts)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: prompts(embedder, texts), range(40)))

    for rows in answers:
        np.testing.assert_array_equal(rows, wanted)


def test_asking_for_prompts_does_not_wait_for_the_model() -> None:
    released = threading.Event()

    class Hanging(HashingEncoder):
        def encode(self, windows: Sequence[Sequence[int]]) -> Rows:
            released.wait(BOUND_S)
            return super().encode(windows)

    encoder = Hanging()
    with Microbatcher(encoder, budget_tokens=64, name="hashing") as batcher:
        asked = Embedder(encoder, batcher).embed_prompts(
            ["red"], WorkContext(priority=Priority.FAST)
        )
        assert not asked.done()
        released.set()
        assert asked.result(BOUND_S).shape == (1, 64)
