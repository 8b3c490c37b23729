"""What the benchmarks stand on: texts that are not alike, and what is made of what was seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench import memory
from ops.bench.resource_sampler import Samples, watching
from ops.bench.texts import mixed_texts


def test_no_two_texts_are_alike_however_many_are_wanted(tmp_path: Path):
    (tmp_path / "ag_news").mkdir()
    (tmp_path / "ag_news" / "train.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')

    texts = mixed_texts(tmp_path, 7)

    assert len(set(texts)) == 7
    assert texts == mixed_texts(tmp_path, 7)
    assert set(mixed_texts(tmp_path)) == {"one", "two"}


def test_texts_are_made_up_where_there_are_no_data(tmp_path: Path):
    assert len(set(mixed_texts(tmp_path / "none", 5000))) > 4900


def test_growth_is_told_apart_from_a_high_start():
    flat = Samples(series={"rss": [1, 9, 9, 9, 9, 9, 9, 9]})
    leak = Samples(series={"rss": [1, 2, 3, 4, 5, 6, 7, 8]})

    assert (flat.growth("rss"), flat.peak("rss")) == (0, 9)
    assert leak.growth("rss") == 4


def test_watching_looks_before_and_after():
    values = iter([1.0, 5.0])

    with watching(lambda: {"rss": next(values)}) as seen:
        pass

    assert seen.series == {"rss": [1.0, 5.0]}


def test_a_worker_that_has_ended_has_no_memory_to_speak_of():
    with subprocess.Popen([sys.executable, "-c", ""]) as worker:
        pass

    with pytest.raises(RuntimeError, match="has ended in minute 1"):
        memory.watch(worker.pid, metrics_port=0, minutes=1)


def test_watching_does_not_hide_that_it_cannot_look():
    def look() -> dict[str, float]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), watching(look):
        pass
