"""How fast the path is, from HTTP request to answer: `python -m ops.bench.speed [--data DIR]`.

The baseline is bare `SentenceTransformer.encode` in float32, one process, the same texts, measured
in the same run on the idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ops.bench import machine
from ops.bench.baselines import bare_model
from ops.bench.service import HttpCaller, Service, call_all, running
from ops.bench.texts import WORDS as WORDS
from ops.bench.texts import mixed_texts

TWO = ["question", "complaint"]
SHORT_CHARS = 60
MANY = [f"topic number {n}" for n in range(256)]


def main() -> None:
    """Print a table of what was measured and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--soak", type=int, default=100_000, help="texts of the memory test")
    options = parser.parse_args()
    mixed, short = sample_texts(options.data)
    print(f"# {machine.describe()}", flush=True)
    print("| what | measured | baseline | ratio |\n| --- | --- | --- | --- |", flush=True)
    baseline = _baseline(mixed, short)
    with running() as service:
        _row_bulk(service, mixed, baseline["mixed_per_s"])
        _row_single(service, short, baseline["forward_ms"])
        _row_callers(service, short, baseline["short_per_s"])
        _rows_labels(service, mixed, short)
        _rows_memory(service, mixed, options.soak)
    _row_start()


def sample_texts(data: Path) -> tuple[list[str], list[str]]:
    """1,024 texts of mixed length and 512 short ones: real ones where there are any."""
    texts = mixed_texts(data)
    return texts[:1024], [text for text in texts if len(text) < SHORT_CHARS][:512]


def _baseline(mixed: list[str], short: list[str]) -> dict[str, float]:
    model = bare_model()

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=32, show_progress_bar=False)

    encode(mixed[:64])
    features = [model.tokenize([text]) for text in short[:100]]
    return {
        "mixed_per_s": len(mixed) / _median(lambda: encode(mixed), times=5),
        "short_per_s": len(short)
        / _median(lambda: [encode(short[i : i + 32]) for i in range(0, len(short), 32)], times=5),
        "forward_ms": 1e3
        * statistics.median(seconds(partial(model.forward, dict(f))) for f in features),
    }


def _row_bulk(service: Service, mixed: list[str], baseline: float) -> None:
    caller = HttpCaller(service)
    request = service.request({"input": mixed, "labels": TWO})
    caller.call(request)
    rate = len(mixed) / _median(lambda: caller.call(request), times=7)
    row("1,024 mixed texts in one call, texts/s", f"{rate:.0f}", f"{baseline:.0f}", rate / baseline)


def _row_single(service: Service, short: list[str], forward_ms: float) -> None:
    caller = HttpCaller(service)
    requests = [service.request({"input": text, "labels": TWO}) for text in short]
    for request in requests[:20]:
        caller.call(request)
    took = sorted(1e3 * seconds(partial(caller.call, r)) for r in requests[:300])
    middle, worst = statistics.median(took), took[int(len(took) * 0.95)]
    row(
        "one short text, one caller, median (95 %) ms; baseline: bare forward pass",
        f"{middle:.1f} ({worst:.1f})",
        f"{forward_ms:.1f}",
        middle / forward_ms,
    )


def _row_callers(service: Service, short: list[str], baseline: float) -> None:
    requests = [service.request({"input": text, "labels": TWO}) for text in short] * 8
    call_all(service, requests[:500], callers=32)
    began = time.perf_counter()
    took = sorted(call_all(service, requests, callers=32))
    rate = len(requests) / (time.perf_counter() - began)
    p95_ms = 1e3 * took[int(len(took) * 0.95)]
    row(
        f"32 callers, short texts, texts/s (95 % within {p95_ms:.0f} ms); baseline: batches of 32",
        f"{rate:.0f}",
        f"{baseline:.0f}",
        rate / baseline,
    )


def _rows_labels(service: Service, mixed: list[str], short: list[str]) -> None:
    caller = HttpCaller(service)
    for what, texts, times in (("one short text", short[:1], 100), ("1,024 texts", mixed, 7)):
        two = service.request({"input": texts, "labels": TWO})
        many = service.request({"input": texts, "labels": MANY})
        top = service.request({"input": texts, "labels": MANY, "top_k": 1})
        for request in (two, many, top):
            caller.call(request)
        # In turns, so that whatever else the machine does falls on all alike.
        rounds = [
            [seconds(partial(caller.call, r)) for r in (two, many, top)] for _ in range(times)
        ]
        two_s, many_s, top_s = (statistics.median(column) for column in zip(*rounds, strict=True))
        for name, took_s in (("256 labels again", many_s), ("256 labels again, top_k 1", top_s)):
            row(
                f"{name}, {what}, ms; baseline: 2 labels",
                f"{1e3 * took_s:.1f}",
                f"{1e3 * two_s:.1f}",
                took_s / two_s,
            )


def _rows_memory(service: Service, mixed: list[str], soak: int) -> None:
    caller = HttpCaller(service)
    request = service.request({"input": mixed, "labels": TWO})
    before = service.rss_mib()
    for _ in range(-(-soak // len(mixed))):
        caller.call(request)
    after = service.rss_mib()
    for process, mib in after.items():
        then = before.get(process, 0.0)
        name = process.partition(" ")[2]
        row(
            f"memory after {soak:,} texts, MiB: `{name}`",
            f"{mib:.0f}",
            f"{then:.0f}",
            mib / max(then, 1),
        )


def _row_start() -> None:
    """An API process up to the moment it could answer, against an empty interpreter."""
    took_s, empty_s = (
        _median(partial(subprocess.run, [sys.executable, "-c", code], check=True), times=5)
        for code in ("import api.wsgi, api.main", "pass")
    )
    row(
        "start of an API process, s; baseline: an empty interpreter",
        f"{took_s:.2f}",
        f"{empty_s:.2f}",
        took_s / empty_s,
    )


def row(what: str, measured: str, baseline: str, ratio: float) -> None:
    """Print one line of the table."""
    print(f"| {what} | {measured} | {baseline} | {ratio:.2f} |", flush=True)


def _median(action: Callable[[], object], *, times: int) -> float:
    return statistics.median(seconds(action) for _ in range(times))


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
