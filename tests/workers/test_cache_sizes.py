"""What the caches of a worker count is what they hold, by the interpreter's own count."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from shared.byte_cache import ByteCache
from shared.types import ClassifierVersion, Priority, Question
from tests.workers.conftest import Bench, a_request
from tests.workers.handlers.test_train import ME, a_job, creation, hold
from workers.classifier_cache import ClassifierCache
from workers.embedding.labels import LabelSets
from workers.embedding.texts import Embedder
from workers.work_context import WorkContext

ENTRIES = 40
FAST = WorkContext(priority=Priority.FAST)
WORDS = [f"a label of some words {i}" for i in range(20 * ENTRIES)]


def grown(cache: Callable[[], ByteCache], fill: Callable[[int], object]) -> tuple[int, int]:
    """The bytes that entries add: counted by the cache, and held by the interpreter."""
    fill(0)  # what is made once
    gc.collect()
    tracemalloc.start()
    try:
        counted, (held, _) = cache().size_bytes, tracemalloc.get_traced_memory()
        for number in range(1, ENTRIES):
            fill(number)
        gc.collect()
        return cache().size_bytes - counted, tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [2, 7, 20])
@pytest.mark.parametrize("options", [{}, {"return_fit": True, "multi_label": True}])
@pytest.mark.parametrize("alike", [False, True])
def test_label_sets(bench: Bench, count: int, options: dict, alike: bool):
    model = bench.models["tiny"]
    model.embedder.embed_prompts(WORDS, FAST).result(60)

    def ask(sets: LabelSets, number: int) -> None:
        words = WORDS[number * count : (number + 1) * count] if alike else _apart(number, count)
        question = Question(labels=tuple(words))
        sets.of(model, a_request("x", questions=(question,), **options), question, FAST).result(60)

    before = LabelSets(bench.limits)  # the prompts and words that all sets share
    for number in range(ENTRIES):
        ask(before, number)
    sets = LabelSets(bench.limits)
    counted, held = grown(lambda: sets._kept, lambda number: ask(sets, number))
    assert 0.75 * counted < held < 1.1 * counted


def _apart(number: int, count: int) -> Iterable[str]:
    return [str(hash((number, k)))[1:9] for k in range(count)]


def test_prompts(bench: Bench):
    embedder = Embedder(bench.encoder, bench.batcher)
    for first in range(0, len(WORDS), 20):  # the hashing model's words
        embedder.embed_prompts(WORDS[first : first + 20], FAST).result(60)
    embedder = Embedder(bench.encoder, bench.batcher)
    counted, held = grown(
        lambda: embedder._prompts,
        lambda number: embedder.embed_prompts(
            [f"{text} " for text in WORDS[20 * number : 20 * (number + 1)]], FAST
        ).result(60),
    )
    assert 0.75 * counted < held < 1.1 * counted


def test_classifiers(bench: Bench):
    versions: list[ClassifierVersion] = []
    for _ in range(ENTRIES):
        body = creation()
        bench.train.train(a_job(), body, hold())
        record, _ = bench.classifiers.records.load(ME, body.classifier_id)
        versions.append(record.weights(record.latest))
    classifiers = ClassifierCache(bench.store, versions_kept=3)
    counted, held = grown(
        lambda: classifiers._kept, lambda number: classifiers.of(versions[number]).result(60)
    )
    assert 0.75 * counted < held < 1.1 * counted
