"""What learning costs next to embedding: `python -m ops.bench.few_shot [--data DIR] [--rounds N]`.

"embedding" is the worker's own embedder in this process: the same engine, the same batches, the
same texts, and nothing else: no HTTP, no queue, no object store, no scores. It takes turns with the
service, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ops.bench import machine
from ops.bench.service import HttpCaller, Service, running
from ops.bench.speed import SHORT_CHARS, WORDS, row, sample_texts, seconds
from shared import model_catalogue
from shared.settings import Settings
from shared.types import Priority
from workers.core.learner import Learner
from workers.core.zero_shot import CosineCalibration
from workers.model_loader import load_models
from workers.work_context import WorkContext

LABELS, EXAMPLES = 10, 1000
MANY, DIMENSIONS = 1024, 384
_EMBED_LIMIT_S = 120.0
_SCALE = CosineCalibration(
    temperature=0.059, by_spread=True
)  # of the bundled model; it changes no cost

Example = dict[str, str]
Embed = Callable[[Sequence[str]], object]
Action = Callable[[], object]


def main() -> None:
    """Print a table of what was measured and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=15, help="of what takes about a second")
    options = parser.parse_args()
    mixed, short = sample_texts(options.data)
    examples = _examples(options.data)
    embed = _embedder()
    print(f"# {machine.describe()}", flush=True)
    print("| what | measured | baseline | ratio |\n| --- | --- | --- | --- |", flush=True)
    with running() as service:
        caller = HttpCaller(service)
        _rows_train(service, caller, embed, examples, options.rounds)
        classifier = _train(service, caller, examples)
        _rows_classify(service, caller, embed, mixed, classifier, options.rounds)
        _rows_single(service, caller, short, examples[0], classifier, 20 * options.rounds)
    _row_core(options.rounds)


def _rows_train(
    service: Service, caller: HttpCaller, embed: Embed, examples: list[Example], rounds: int
) -> None:
    """A new classifier in each round, with new labels: no prompt of theirs is remembered."""
    inputs = [example["text"] for example in examples]
    labels = sorted({example["label"] for example in examples})
    zero_shot = service.request({"input": inputs, "labels": labels})
    new = iter(range(rounds + 1))

    def train() -> None:
        suffix = f", {next(new)}"
        renamed = [{**example, "label": example["label"] + suffix} for example in examples]
        caller.call(_to_train(service, {"input": renamed}))

    trained, embedded, classified = _in_turns(
        train, partial(embed, inputs), partial(caller.call, zero_shot), rounds=rounds
    )
    what = f"train: {EXAMPLES:,} short texts, {LABELS} labels, one call, ms; baseline: "
    _row_ms(what + "embedding", trained, embedded)
    _row_ms(what + "zero-shot", trained, classified)


def _rows_classify(
    service: Service,
    caller: HttpCaller,
    embed: Embed,
    mixed: list[str],
    classifier: str,
    rounds: int,
) -> None:
    labels = [f"topic number {n}" for n in range(LABELS)]
    by_classifier = service.request({"input": mixed, "classifier_id": classifier})
    zero_shot = service.request({"input": mixed, "labels": labels})
    learnt, embedded, zero = _in_turns(
        partial(caller.call, by_classifier),
        partial(embed, mixed),
        partial(caller.call, zero_shot),
        rounds=rounds,
    )
    what = f"classify by a classifier: {len(mixed):,} mixed texts, one call, ms; baseline: "
    _row_ms(what + "embedding", learnt, embedded)
    _row_ms(what + "zero-shot", learnt, zero)


def _rows_single(
    service: Service,
    caller: HttpCaller,
    short: list[str],
    example: Example,
    classifier: str,
    rounds: int,
) -> None:
    """One text by the classifier, the same zero-shot, and one more example for the classifier."""
    asked = iter(short * (1 + rounds // len(short)))
    more = _to_train(service, {"input": [example], "classifier_id": classifier})
    labels = [f"topic number {n}" for n in range(LABELS)]
    text = ""

    def by_classifier() -> None:
        nonlocal text
        text = next(asked)
        caller.call(service.request({"input": text, "classifier_id": classifier}))

    def zero_shot() -> None:
        caller.call(service.request({"input": text, "labels": labels}))

    learnt, zero = _in_turns(by_classifier, zero_shot, rounds=rounds)
    # Apart from those above: each makes a version, which the next call would have to read.
    learning, zero_too = _in_turns(partial(caller.call, more), zero_shot, rounds=rounds // 2)
    for what, took, baseline in (
        ("one short text by a classifier", learnt, zero),
        (f"one more example for a classifier of {LABELS} labels", learning, zero_too),
    ):
        middle, least = 1e3 * statistics.median(took), 1e3 * statistics.median(baseline)
        worst = 1e3 * sorted(took)[int(len(took) * 0.95)]
        row(
            f"{what}, median (95 %) ms; baseline: one short text zero-shot",
            f"{middle:.1f} ({worst:.1f})",
            f"{least:.1f}",
            middle / least,
        )


def _row_core(rounds: int) -> None:
    """The pure learner, with labels given at random: whatever it predicts, it has to learn.

    One thread for its algebra, as in a worker.
    """
    rng = np.random.default_rng(0)

    def learn(labels: int) -> Action:
        prior, x = (
            rows / np.linalg.norm(rows, axis=1, keepdims=True)
            for rows in rng.normal(size=(2, max(labels, EXAMPLES), DIMENSIONS)).astype(np.float32)
        )
        start = Learner.start([str(k) for k in range(labels)], prior[:labels], _SCALE)
        y = rng.integers(labels, size=EXAMPLES)
        return lambda: start.learn(x[:EXAMPLES], y)

    with threadpool_limits(1, user_api="blas"):
        many, few = _in_turns(learn(MANY), learn(LABELS), rounds=max(3, rounds // 3))
    _row_ms(
        f"learning alone: {EXAMPLES:,} examples, {MANY:,} labels, {DIMENSIONS} dimensions, ms; "
        f"baseline: {LABELS} labels",
        many,
        few,
    )


def _examples(data: Path) -> list[Example]:
    """1,000 short questions to a bank, their 77 labels folded to ten; else random words."""
    file = data / "banking77" / "train.jsonl"
    shuffle = random.Random(0)
    if not file.exists():
        print("# no data directory: examples are made of random words", flush=True)
        return [
            {"text": " ".join(shuffle.choices(WORDS, k=10)), "label": WORDS[n % LABELS]}
            for n in range(EXAMPLES)
        ]
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    known = sorted({r["label"] for r in rows})
    size = -(-len(known) // LABELS)
    fold = {label: known[n - n % size] for n, label in enumerate(known)}
    found = [
        {"text": r["text"], "label": fold[r["label"]]} for r in rows if len(r["text"]) < SHORT_CHARS
    ]
    shuffle.shuffle(found)
    found = found[:EXAMPLES]
    if len(found) < EXAMPLES or len({e["label"] for e in found}) != LABELS:
        raise ValueError(f"{file} has not {EXAMPLES:,} short texts of {LABELS} labels")
    return found


def _embedder() -> Embed:
    """Texts through the default model as a worker runs it."""
    settings = Settings()
    models = model_catalogue.load(settings.catalogue, default=settings.default_model)
    _, loaded = load_models(models, settings, observe=lambda _: lambda *_: None)
    embedder = loaded[models.default.name].embedder

    def embed(inputs: Sequence[str]) -> object:
        tokens = embedder.tokenise(inputs)
        return embedder.embed(tokens, WorkContext(priority=Priority.BULK)).result(_EMBED_LIMIT_S)

    return embed


def _train(service: Service, caller: HttpCaller, examples: list[Example]) -> str:
    """The id of a new classifier."""
    answer = json.loads(caller.call(_to_train(service, {"input": examples})))
    return str(answer["classifier_id"])


def _to_train(service: Service, body: dict[str, object]) -> bytes:
    return service.request(body).replace(b"POST /v1/classify ", b"POST /v1/train ", 1)


def _in_turns(*actions: Action, rounds: int) -> list[list[float]]:
    """Seconds of each action in each round, after one round that does not count."""
    taken = [[seconds(action) for action in actions] for _ in range(rounds + 1)]
    return [list(column) for column in zip(*taken[1:], strict=True)]


def _row_ms(what: str, measured: list[float], baseline: list[float]) -> None:
    """Medians, and the median of the ratios of each round."""
    ratio = statistics.median(m / b for m, b in zip(measured, baseline, strict=True))
    row(
        what,
        f"{1e3 * statistics.median(measured):.0f}",
        f"{1e3 * statistics.median(baseline):.0f}",
        ratio,
    )


if __name__ == "__main__":
    main()
