from __future__ import annotations

from workers.microbatching.throughput import Throughput


def test_full_passes_say_how_fast_a_model_is():
    seen: list[tuple[object, ...]] = []
    pace = Throughput()
    observe = pace.watching(lambda model: lambda *said: seen.append((model, *said)))("tiny")

    observe(1, 5, 8, 0.1)
    assert pace.tokens_per_s() == {}
    observe(9, 1000, 1024, 0.5)
    observe(9, 500, 512, 0.25)

    assert pace.tokens_per_s() == {"tiny": 2000.0}
    assert seen[0] == ("tiny", 1, 5, 8, 0.1)
    assert len(seen) == 3


def test_only_what_was_of_late_counts():
    pace = Throughput()
    observe = pace.watching(lambda _: lambda *_: None)("tiny")

    for _ in range(1000):
        observe(1, 300, 300, 3.0)
    for _ in range(256):
        observe(1, 300, 300, 1.0)

    assert pace.tokens_per_s() == {"tiny": 300.0}
